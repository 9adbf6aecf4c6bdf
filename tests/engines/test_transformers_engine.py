"""The transformers engine: same tokens as `generate`, same log-probabilities as the learner, nothing twice."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from small_models import FAMILIES, VOCAB, LetterTokenizer, small_model

from himac.engines.kv import SlotStore, affordable_tokens, bytes_per_token
from himac.engines.transformers import TransformersEngine
from himac.errors import ModelError
from himac.models.logps import token_logps
from himac.models.packing import pack
from himac.types import Request, Sampling

torch.set_num_threads(1)


def engine_of(family="qwen3", **settings):
    return TransformersEngine(small_model(family), LetterTokenizer(), **settings)


def request(prompt, **sampling):
    return Request(prompt=np.asarray(prompt), sampling=Sampling(**{"max_tokens": 8, **sampling}))


def some_prompts():
    rng = np.random.default_rng(0)
    a, b, c = (rng.integers(0, VOCAB, n) for n in (3, 20, 11))
    return [a, b, c, b.copy(), np.concatenate([b[:15], [4, 5, 6]]), c[:4], b.copy(), np.concatenate([b, [7]])]


def play(engine, contexts, *, num_turns, observation=5, temperature=0.8):
    """Play episodes: prompt, completion, observation ... Return per context (ids, sampled mask, logps)."""
    rng = np.random.default_rng(1)
    ids = [list(context) for context in contexts]
    masks = [[False] * len(context) for context in contexts]
    logps = [[0.0] * len(context) for context in contexts]
    for turn in range(num_turns):
        if turn:
            for i in range(len(ids)):
                ids[i] += rng.integers(0, VOCAB, observation).tolist()
                masks[i] += [False] * observation
                logps[i] += [0.0] * observation
        answers = engine.generate(
            [
                request(x, max_tokens=int(rng.integers(1, 9)), temperature=temperature, seed=1000 * turn + i)
                for i, x in enumerate(ids)
            ]
        )
        for i, answer in enumerate(answers):
            ids[i] += answer.ids
            masks[i] += [True] * len(answer.ids)
            logps[i] += answer.logps
    return [np.array(x) for x in ids], [np.array(x) for x in masks], [np.array(x) for x in logps]


def gap_to_learner(model, ids, masks, logps, temperature=0.8):
    (batch,) = pack(ids, max_tokens=100_000)
    with torch.no_grad():
        found = token_logps(model, batch, masks, temperature=temperature).logps.numpy()
    return float(np.abs(found - batch.select(logps, masks)).max())


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_tokens_equal_generate(family):
    engine = engine_of(family, max_batch=5)
    prompts = some_prompts()
    expected = [
        engine.model.generate(
            torch.tensor(p)[None], attention_mask=torch.ones(1, len(p), dtype=torch.long), do_sample=False,
            max_new_tokens=12, pad_token_id=0,
        )[0, len(p) :].tolist()
        for p in prompts
    ]  # fmt: skip
    answers = engine.generate([request(p, temperature=0, max_tokens=12) for p in prompts])
    assert [list(answer.ids) for answer in answers] == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_logps_equal_the_learners_after_turns_sharing_and_eviction(family):
    # 300 positions hold three of the eight sequences: the others are evicted and computed again
    engine = engine_of(family, max_batch=3, max_kv_tokens=300)
    stem = some_prompts()[1]
    ids, masks, logps = play(engine, [[*stem, i // 4] for i in range(8)], num_turns=4)
    assert gap_to_learner(engine.model, ids, masks, logps) < 1e-4


def test_growing_contexts_stay_within_the_memory_they_were_given(monkeypatch):
    engine = engine_of(max_batch=3, max_kv_tokens=1024)
    seen = []
    reserve = SlotStore.reserve

    def watched(store, num_slots, capacity):
        reserve(store, num_slots, capacity)
        seen.append((store.num_slots, store.capacity))

    monkeypatch.setattr(SlotStore, "reserve", watched)
    contexts = [[*some_prompts()[1], i] for i in range(12)]
    ids, masks, logps = play(engine, contexts, num_turns=18)
    assert max(capacity for _, capacity in seen) >= 2 * min(capacity for _, capacity in seen) > 0
    assert max(slots * capacity for slots, capacity in seen) <= 1024
    assert gap_to_learner(engine.model, ids, masks, logps) < 1e-4


def test_logps_follow_new_weights():
    engine = engine_of()
    contexts = [[*some_prompts()[1], i] for i in range(4)]
    play(engine, contexts, num_turns=2)
    with torch.no_grad():
        for parameter in engine.model.parameters():
            parameter.mul_(1.05)
    engine.load_weights(None, 1)
    ids, masks, logps = play(engine, contexts, num_turns=2)
    assert gap_to_learner(engine.model, ids, masks, logps) < 1e-4


def test_new_weights_given_as_a_state_are_the_ones_that_generate():
    engine, other = engine_of(), small_model("qwen3", scale=2.5)
    engine.generate([request([1, 2, 3])])
    engine.load_weights(other.state_dict(), 1)
    expected = TransformersEngine(other, LetterTokenizer()).generate([request([1, 2, 3], seed=5)])
    assert engine.generate([request([1, 2, 3], seed=5)]) == expected
    with pytest.raises(ModelError, match=r"no_such\.weight"):
        engine.load_weights({"no_such.weight": torch.zeros(1)}, 2)


def test_three_turns_of_a_group_of_eight_compute_no_token_twice():
    engine = engine_of()
    prompt = some_prompts()[1]
    ids, masks, _ = play(engine, [prompt] * 8, num_turns=3)
    stats = engine.stats
    # turns two and three read the last sampled token of the turn before and the observation, nothing else
    assert stats.computed_prompt_tokens == len(prompt) + 2 * 8 * (1 + 5)
    assert stats.sampled_tokens == sum(int(mask.sum()) for mask in masks)
    (batch,) = pack(ids, max_tokens=100_000)
    through_the_model = stats.computed_prompt_tokens + stats.sampled_tokens - 2 * 8
    assert batch.num_tokens <= through_the_model <= batch.num_tokens + 3 * 8


def test_the_prompt_of_a_group_is_computed_once():
    engine = engine_of()
    engine.generate([request(some_prompts()[1], seed=i) for i in range(8)])
    assert engine.stats.computed_prompt_tokens == 20


def test_a_completion_is_the_same_alone_and_in_any_batch():
    requests = [request(p, temperature=0.9, top_p=0.95, seed=i) for i, p in enumerate(some_prompts() * 3)]
    together = engine_of(max_batch=64).generate(requests)
    crowded = engine_of(max_batch=4).generate(requests)
    alone = [engine_of().generate([r])[0] for r in requests]
    backwards = engine_of(max_batch=7).generate(requests[::-1])[::-1]
    for others in (crowded, alone, backwards):
        assert [x.ids for x in others] == [x.ids for x in together]


@pytest.mark.parametrize("seed", range(6))
def test_a_completion_does_not_depend_on_when_its_request_comes(seed):
    """Any order of arrival, any number of steps in between, any batch size and memory: the same tokens."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 24, 24)
    requests = [
        request(p, temperature=0.9, seed=i, max_tokens=int(n))
        for i, (p, n) in enumerate(zip(some_prompts() * 3, lengths))
    ]
    wanted = engine_of(max_batch=64).generate(requests)
    engine = engine_of(max_batch=int(rng.integers(1, 9)), max_kv_tokens=int(rng.choice([64, 512, 8192])))
    number_of, found = {}, {}
    for number in rng.permutation(len(requests)):
        number_of[engine.submit(requests[number])] = number
        for _ in range(int(rng.integers(0, 4))):
            found |= {number_of[ticket]: completion for ticket, completion in engine.step()}
    while len(found) < len(requests):
        found |= {number_of[ticket]: completion for ticket, completion in engine.step()}
    assert [found[n].ids for n in range(24)] == [x.ids for x in wanted]
    assert engine.step() == []


def test_a_short_answer_is_there_before_a_long_one_and_the_next_request_joins():
    engine = engine_of()
    long = engine.submit(request([1, 2, 3], temperature=0, max_tokens=60))
    short = engine.submit(request([4, 5, 6], temperature=0, max_tokens=3))
    order = []
    joined = None
    while long not in order:
        for ticket, _ in engine.step():
            order.append(ticket)
            if ticket == short:
                joined = engine.submit(request([7, 8], temperature=0, max_tokens=4))
    assert order == [short, joined, long]


def test_cancelling_forgets_what_is_under_way_and_leaves_the_module_as_it_was():
    engine = engine_of()
    engine.model.train()
    wanted = engine_of().generate([request([4, 5, 6])])
    engine.submit(request([1, 2, 3], max_tokens=30))
    engine.step()
    assert not engine.model.training
    engine.cancel()
    assert engine.model.training and engine.step() == []
    assert engine.generate([request([4, 5, 6])]) == wanted


def test_a_request_that_is_refused_leaves_the_engine_usable():
    engine = engine_of()
    with pytest.raises(ModelError, match="empty prompt"):
        engine.generate([request([1, 2, 3]), request([])])
    assert engine.step() == []
    assert engine.generate([request([1, 2, 3])]) == engine_of().generate([request([1, 2, 3])])


def test_what_is_cached_is_given_back_and_changes_no_token():
    engine = engine_of()
    first = engine.generate([request([1, 2, 3], max_tokens=4)])[0]
    again = request([1, 2, 3, *first.ids, 5], seed=7)
    engine.release()
    assert engine._store.num_slots == 0
    assert engine.generate([again])[0].ids == engine_of().generate([again])[0].ids


def test_without_a_number_the_cache_is_a_quarter_of_the_memory_at_most():
    per_token = bytes_per_token(small_model("qwen2").config, 4)
    assert per_token == 2 * 3 * 2 * 8 * 4  # keys and values, layers, heads, width, float32
    cpu = torch.device("cpu")
    assert engine_of("qwen2").max_kv_tokens == affordable_tokens(per_token, cpu) == 262_144
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert affordable_tokens(2**25, cpu) == total // 4 // 2**25
    assert engine_of(max_kv_tokens=100).max_kv_tokens == 100


def test_seeds_make_completions_differ():
    answers = engine_of().generate([request([1, 2, 3], seed=i) for i in range(16)])
    assert len({answer.ids for answer in answers}) > 8


def test_any_end_of_turn_token_stops_and_is_kept():
    engine = engine_of()
    free = engine.generate([request([1, 2, 3], temperature=0, max_tokens=6)])[0]
    model = small_model("qwen3")
    model.generation_config.eos_token_id = [free.ids[2], 1000]
    engine = TransformersEngine(model, LetterTokenizer())
    stopped = engine.generate([request([1, 2, 3], temperature=0, max_tokens=6)])[0]
    assert stopped.ids == free.ids[: free.ids.index(free.ids[2]) + 1]
    assert (free.finish, stopped.finish) == ("length", "stop")


def test_a_stop_string_over_several_tokens_stops_after_the_token_that_completes_it():
    engine = engine_of()
    free = engine.generate([request([1, 2, 3], temperature=0, max_tokens=8)])[0]
    text = LetterTokenizer().decode(free.ids)
    stop = text[2:5]
    ended = text.find(stop) + 3
    stopped = engine.generate([request([1, 2, 3], temperature=0, max_tokens=8, stop=("never", stop))])[0]
    assert stopped.ids == free.ids[:ended] and stopped.finish == "stop"


class ThoughtTokenizer(LetterTokenizer):
    """Two of its tokens open and close a thought."""

    def __init__(self, *, opens, closes):
        self.tags = {opens: "<think>", closes: "</think>"}

    def decode(self, ids):
        return "".join(self.tags.get(int(i)) or LetterTokenizer.decode(self, [i]) for i in ids)


def test_stop_strings_rest_until_a_thought_is_closed():
    ask = {"temperature": 3.0, "max_tokens": 10, "seed": 4}
    ids = engine_of().generate([request([1, 2, 3], **ask)])[0].ids
    assert len(set(ids[:7])) == 7, "the tokens below are to be different ones"
    stop = (LetterTokenizer().decode([ids[2]]), LetterTokenizer().decode([ids[6]]))
    plain = engine_of().generate([request([1, 2, 3], **ask, stop=stop)])[0]
    assert plain.ids == ids[:3]
    engine = TransformersEngine(small_model("qwen3"), ThoughtTokenizer(opens=ids[0], closes=ids[4]))
    assert engine.generate([request([1, 2, 3], **ask, stop=stop)])[0].ids == ids[:7]
    never_closed = TransformersEngine(small_model("qwen3"), ThoughtTokenizer(opens=ids[0], closes=-1))
    assert never_closed.generate([request([1, 2, 3], **ask, stop=stop)])[0].finish == "length"


def test_no_requests_no_completions_and_no_room_no_tokens():
    engine = engine_of()
    assert engine.generate([]) == []
    (answer,) = engine.generate([request([1], max_tokens=0)])
    assert (answer.ids, answer.logps, answer.finish) == ((), (), "length")


def test_prompts_that_do_not_fit_are_refused_with_their_lengths():
    engine = engine_of()
    with pytest.raises(ModelError, match="257 tokens; the model takes 256"):
        engine.generate([request(np.ones(257))])
    with pytest.raises(ModelError, match="empty prompt"):
        engine.generate([request([])])
    (answer,) = engine.generate([request(np.ones(250), max_tokens=100)])
    assert len(answer.ids) == 7 and answer.finish == "length"


def test_the_module_is_left_as_it_was():
    engine = engine_of()
    model = engine.model.train()
    model.model.layers[1].eval()
    modes = [module.training for module in model.modules()]
    forwards = [module.forward.__func__ for module in model.modules()]
    engine.generate([request([1, 2, 3])])
    assert [module.training for module in model.modules()] == modes
    assert [module.forward.__func__ for module in model.modules()] == forwards
    (batch,) = pack([np.array([1, 2, 3])], max_tokens=10)
    token_logps(model, batch, [np.array([False, True, True])]).logps.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_lora_model_generates_with_its_adapter():
    peft = pytest.importorskip("peft")
    settings = peft.LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM")
    torch.manual_seed(0)  # float32 rounds as the logits are large, and one adapter in twelve makes them so
    model = peft.get_peft_model(small_model("qwen3"), settings).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3)
    engine = TransformersEngine(model, LetterTokenizer(), max_batch=4)
    stem = some_prompts()[1]
    ids, masks, logps = play(engine, [[*stem, i // 4] for i in range(8)], num_turns=2)
    assert gap_to_learner(model, ids, masks, logps) < 1e-4
    with model.disable_adapter():
        assert gap_to_learner(model, ids, masks, logps) > 1e-2
