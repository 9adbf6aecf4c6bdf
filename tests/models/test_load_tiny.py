"""Building, loading and saving models as ordinary Hugging Face folders."""

from __future__ import annotations

import shutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from himac.config import ModelConfig
from himac.errors import ModelError
from himac.models.load import load_model, save_model
from himac.models.tiny import TAGS, TinyShape, build_tiny, build_tokenizer

torch.set_num_threads(1)
TEXTS = ["push the box up onto the target\n# # # # #\n# _ O X S P #\n<action>up</action> step 1 of 12"] * 20
TOKENIZER = build_tokenizer(TEXTS, vocab=400)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("tiny")
    build_tiny(path, TEXTS, TinyShape(hidden=32, layers=2, heads=2, kv_heads=1, head_dim=16), vocab=400)
    return path


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40))
def test_any_text_makes_the_round_trip(text):
    ids = TOKENIZER.encode(text, add_special_tokens=False)
    assert TOKENIZER.decode(ids) == text or any(token in text for token in TOKENIZER.all_special_tokens)


def test_each_cell_of_a_board_is_one_token():
    row = "# _ O X √ P S"
    assert [TOKENIZER.decode([i]) for i in TOKENIZER.encode(row)] == ["#", " _", " O", " X", " √", " P", " S"]
    assert [TOKENIZER.decode([i]) for i in TOKENIZER.encode("#_OX√PS")] == list("#_OX√PS")
    assert [TOKENIZER.decode([i]) for i in TOKENIZER.encode("120")] == ["1", "2", "0"]


@pytest.mark.parametrize("tag", TAGS)
def test_a_tag_is_one_token_and_visible(tag):
    (number,) = TOKENIZER.encode(tag, add_special_tokens=False)
    assert TOKENIZER.decode([number], skip_special_tokens=True) == tag


def test_the_chat_template_is_chatml():
    text = TOKENIZER.apply_chat_template(
        [{"role": "user", "content": "hi"}], tokenize=False, add_generation_prompt=True
    )
    assert text == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    assert TOKENIZER.eos_token == "<|im_end|>"


def test_a_tiny_model_is_an_ordinary_folder_and_its_seed_decides_the_weights(folder, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.config.model_type == "qwen3" and model.config.tie_word_embeddings
    assert AutoTokenizer.from_pretrained(folder).decode(model.config.eos_token_id) == "<|im_end|>"
    build_tiny(
        tmp_path, TEXTS, TinyShape(hidden=32, layers=2, heads=2, kv_heads=1, head_dim=16), vocab=400, seed=1
    )
    other = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert not torch.equal(model.lm_head.weight, other.lm_head.weight)


def test_saving_and_loading_keeps_weights_and_does_not_bake_in_the_attention(folder, tmp_path):
    model, tokenizer = load_model(str(folder))
    save_model(model, tokenizer, tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert again.config._attn_implementation == "sdpa"
    ids = torch.tensor([[5, 6, 7]])
    assert torch.equal(again(ids).logits, model(ids).logits)


def test_an_adapter_is_saved_small_and_comes_back(folder, tmp_path):
    pytest.importorskip("peft")
    model, tokenizer = load_model(str(folder), ModelConfig(lora_rank=2))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.1)
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trainable and all("lora_" in name for name in trainable)
    save_model(model, tokenizer, tmp_path)
    again, _ = load_model(str(tmp_path))
    ids = torch.tensor([[5, 6, 7]])
    torch.testing.assert_close(again(ids).logits, model(ids).logits)
    assert any(parameter.requires_grad for parameter in again.parameters())


@pytest.mark.parametrize("adapters", [("default",), ("planner", "executor")])
def test_an_adapter_and_its_base_may_be_moved_together(folder, tmp_path, adapters):
    pytest.importorskip("peft")
    here, there = tmp_path / "here", tmp_path / "there"
    shutil.copytree(folder, here / "start")
    model, tokenizer = load_model(str(here / "start"), ModelConfig(lora_rank=2), adapters=adapters)
    save_model(model, tokenizer, here / "run" / "model")
    again, tokenizer = load_model(str(here / "run" / "model"))
    save_model(
        again, tokenizer, here / "run" / "later" / "model"
    )  # saved again, elsewhere, by who has read it
    here.rename(there)
    for kept in ("run/model", "run/later/model"):
        moved, _ = load_model(str(there / kept))
        ids = torch.tensor([[5, 6, 7]])
        torch.testing.assert_close(moved(ids).logits, model(ids).logits)
        assert not list((there / kept).rglob("README.md"))
        texts = [path.read_text() for path in (there / kept).rglob("*.json")]
        assert not any(str(tmp_path) in text for text in texts)


def test_a_wrong_path_is_one_line_with_a_hint(tmp_path):
    with pytest.raises(ModelError, match="cannot load the model") as caught:
        load_model(str(tmp_path / "missing"))
    assert "\n" not in str(caught.value) and caught.value.hint


def test_a_model_without_a_chat_template_is_refused(folder, tmp_path):
    model, tokenizer = load_model(str(folder))
    tokenizer.chat_template = None
    save_model(model, tokenizer, tmp_path)
    with pytest.raises(ModelError, match="no chat template"):
        load_model(str(tmp_path))
