"""Pictures on their way to a model: resized as its own processor does, and written as its own template does."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from seeing import Seeing
from transformers import AutoImageProcessor, AutoTokenizer
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from himac.chat import ChatFormat
from himac.config import ModelConfig, VisionSettings
from himac.errors import ModelError, RunError
from himac.images import FIRST_ID, Album, name_of
from himac.learner.policy import Policy
from himac.models.tiny import TinyShape, build_tiny, build_tokenizer
from himac.models.vision import Vision
from himac.types import Completion, Message

REAL = {  # patch, smallest and largest area of the published processors
    "qwen2_5_vl": (14, 56 * 56, 28 * 28 * 1280),
    "qwen3_vl": (16, 65_536, 16_777_216),
    "qwen2_vl": (14, 56 * 56, 28 * 28 * 1280),
}

# What the published templates do with a talk: Qwen2-VL and 2.5-VL open it with a system message of their own, Qwen3-VL does not.
_PARTS = (
    "{% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}{% if p.type == 'image' or 'image' in p %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% elif 'text' in p %}{{ p.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n"
)
_TAIL = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
TEMPLATES = {
    "qwen2_5_vl": "{% for m in messages %}{% if loop.first and m.role != 'system' %}<|im_start|>system\nYou are a helpful "
    "assistant.<|im_end|>\n{% endif %}<|im_start|>{{ m.role }}\n" + _PARTS + "{% endfor %}" + _TAIL,
    "qwen3_vl": "{% for m in messages %}<|im_start|>{{ m.role }}\n" + _PARTS + "{% endfor %}" + _TAIL,
}


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)


@pytest.mark.parametrize("family", REAL)
@pytest.mark.parametrize("size", [(96, 96), (168, 168), (100, 333), (20, 24), (700, 900)])
def test_patches_and_counts_are_the_processors(family, size):
    patch, least, most = REAL[family]
    seeing = Seeing(family)
    own = Qwen2VLImageProcessorPil(patch_size=patch, size={"shortest_edge": least, "longest_edge": most})
    vision = Vision(seeing.model, own, seeing.album)
    image = picture(*size)
    name = seeing.album.tag(image)[7:-1]
    theirs = own(images=[Image.fromarray(image)], return_tensors="np")
    patches, grid = vision.patches([seeing.album.array(name)])
    np.testing.assert_array_equal(patches, theirs["pixel_values"])
    np.testing.assert_array_equal(grid, theirs["image_grid_thw"])
    assert len(vision.ids(name)) == int(grid[0].prod()) // 4 == int(np.prod(vision.grid(name)))


def test_limits_of_pixels_are_settings():
    seeing = Seeing("qwen2_5_vl")
    own = Qwen2VLImageProcessorPil(patch_size=14, size={"shortest_edge": 3136, "longest_edge": 10**6})
    name = seeing.album.tag(picture(280, 280))[7:-1]
    counts = [
        len(Vision(seeing.model, own, seeing.album, table).ids(name))
        for table in ({}, {"max_pixels": 140 * 140}, {"min_pixels": 560 * 560, "max_pixels": 10**6})
    ]
    assert counts == [100, 25, 400]
    shrunk = own(
        images=[picture(280, 280)],
        size={"shortest_edge": 3136, "longest_edge": 140 * 140},
        return_tensors="np",
    )
    patches, _ = Vision(seeing.model, own, seeing.album, {"max_pixels": 140 * 140}).patches(
        [picture(280, 280)]
    )
    np.testing.assert_array_equal(patches, shrunk["pixel_values"])


@pytest.mark.parametrize("family", TEMPLATES)
@pytest.mark.parametrize("system", [True, False])
def test_a_talk_with_pictures_is_written_as_transformers_writes_it(family, system):
    seeing = Seeing(family)
    seeing.tokenizer.chat_template = TEMPLATES[family]
    chat = ChatFormat(seeing.tokenizer, eyes=seeing.vision)
    first, second = seeing.names[0], seeing.names[4]
    said = [Message(role="system", content="You see.")] if system else []
    said.append(Message(role="user", content=f"Look: <image:{first}>and <image:{second}>\nWhat now?"))
    talk = chat.conversation(said)
    answer = chat.answer("a wall")

    talk.add_completion(Completion(ids=tuple(answer), logps=(0.0,) * len(answer), finish="stop"))
    talk.add_question(f"<image:{first}>")
    parts = [
        {"type": "text", "text": "Look: "}, {"type": "image"}, {"type": "text", "text": "and "}, {"type": "image"},
        {"type": "text", "text": "\nWhat now?"},
    ]  # fmt: skip
    theirs = [{"role": "system", "content": "You see."}] if system else []
    theirs += [
        {"role": "user", "content": parts},
        {"role": "assistant", "content": "a wall"},
        {"role": "user", "content": [{"type": "image"}]},
    ]
    text = seeing.tokenizer.apply_chat_template(theirs, tokenize=False, add_generation_prompt=True)
    counts = [len(seeing.vision.ids(name)) for name in (first, second, first)]
    for count in counts:  # what a processor does: a token for each square of patches
        text = text.replace("<|image_pad|>", "<|pad|>" * count, 1)
    expected = seeing.tokenizer.encode(text.replace("<|pad|>", "<|image_pad|>"), add_special_tokens=False)
    shown = talk.prompt >= FIRST_ID
    np.testing.assert_array_equal(np.where(shown, seeing.pad, talk.prompt), expected)
    assert shown.sum() == sum(counts)


def test_a_picture_that_nobody_showed_is_text():
    seeing = Seeing("qwen3_vl")
    chat = ChatFormat(seeing.tokenizer, eyes=seeing.vision)
    ids = chat.open((Message(role="user", content=f"<image:{'0' * 32}> <|image_pad|>"),))
    assert max(ids) < FIRST_ID and seeing.pad not in ids


def test_a_template_without_pictures_is_refused_in_one_line():
    seeing = Seeing("qwen3_vl")
    tokenizer = build_tokenizer(["a word"] * 3, vocab=400)
    with pytest.raises(ModelError, match="shows no pictures"):
        ChatFormat(tokenizer, eyes=seeing.vision)


@pytest.mark.parametrize("family", REAL)
def test_a_tiny_model_that_sees_is_an_ordinary_folder(tmp_path, family):
    settings = VisionSettings(family=family)
    build_tiny(tmp_path, ["a word"] * 3, TinyShape(), vocab=400, vision=settings)
    assert AutoTokenizer.from_pretrained(tmp_path).chat_template
    own = AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    assert own(images=[picture(96, 96)], return_tensors="np")["image_grid_thw"].tolist() == [[1, 12, 12]]
    album = Album()
    policy = Policy.load(tmp_path, ModelConfig(), device="cpu", album=album)
    assert policy.vision is not None and policy.vision.album is album
    assert policy.model.config.model_type == family and policy.num_parameters < 1e6
    name = album.tag(picture(96, 96))[7:-1]
    assert len(policy.vision.ids(name)) == 36  # a cell of a 6 x 6 board of 16 pixels is a token
    policy.save(tmp_path / "again")
    again = Policy.load(tmp_path / "again", ModelConfig(vision={"freeze": True}), device="cpu", album=album)
    assert not any(p.requires_grad for p in again.model.model.visual.parameters())


def test_a_name_is_a_hash_of_size_and_pixels():
    image = picture(4, 6)
    assert name_of(image) == name_of(image.copy()) != name_of(image.reshape(6, 4, 3))
    album = Album()
    assert album and not len(album)  # `album or Album()` would part the eyes from what is shown
    tag = album.tag(image)
    np.testing.assert_array_equal(album.array(tag[7:-1]), image)
    other = Album()
    other.put(tag[7:-1], album.png(tag[7:-1]))
    assert other.tag(image) == tag and other.size(tag[7:-1]) == (4, 6)


def test_an_album_beyond_its_bound_lies_in_a_file_and_says_the_same():
    small, large = Album(in_memory=2_000), Album()
    images = [picture(16, 16 + n % 3, seed=n) for n in range(20)]
    tags = [small.tag(image) for image in images]
    assert tags == [large.tag(image) for image in images] and small.names() == large.names()
    for tag, image in zip(tags[::-1], images[::-1]):
        name = tag[7:-1]
        assert small.png(name) == large.png(name) and small.size(name) == image.shape[:2]
        np.testing.assert_array_equal(small.array(name), image)
    assert (
        small.tag(images[3]) == tags[3] and len(small) == 20
    )  # kept once, and what comes after reads is whole
    again = small.tag(picture(40, 40))
    np.testing.assert_array_equal(small.array(again[7:-1]), picture(40, 40))
    assert small._files._rolled and not large._files._rolled


def test_a_disk_too_full_for_pictures_is_told_in_one_line(monkeypatch):
    album = Album(in_memory=10)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(album._files, "rollover", full)
    with pytest.raises(RunError, match=r"cannot write .*: No space left on device"):
        album.tag(picture(16, 16))
    assert len(album) == 0


@pytest.mark.parametrize("frozen", [True, False])
def test_adapters_leave_a_frozen_tower_out_and_come_back_with_their_eyes(tmp_path, frozen):
    pytest.importorskip("peft")
    build_tiny(tmp_path / "base", ["a word"] * 3, TinyShape(), vocab=400, vision=VisionSettings())
    cfg = ModelConfig(lora_rank=2, vision={"freeze": frozen})
    policy = Policy.load(tmp_path / "base", cfg, device="cpu")
    names = [name for name, p in policy.model.named_parameters() if p.requires_grad]
    assert names and all("lora" in name for name in names)
    assert any("visual" in name for name in names) != frozen
    policy.save(tmp_path / "adapter")
    again = Policy.load(tmp_path / "adapter", cfg, device="cpu")
    assert again.vision is not None and again.vision.processor.patch_size == 8
    again.merge()
    again.save(tmp_path / "merged")
    merged = Policy.load(tmp_path / "merged", ModelConfig(), device="cpu")
    assert merged.vision is not None and not hasattr(merged.model, "disable_adapter")


def test_a_trimmed_context_holds_whole_pictures_alone():
    seeing = Seeing("qwen3_vl")
    chat = ChatFormat(seeing.tokenizer, eyes=seeing.vision)
    talk = chat.conversation((Message(role="user", content=f"<image:{seeing.names[0]}>"),))
    for name in (*seeing.names[1:], *seeing.names[1:]):
        answer = chat.answer("a wall")
        talk.add_completion(Completion(ids=tuple(answer), logps=(0.0,) * len(answer), finish="stop"))
        talk.add_question(f"<image:{name}>")
    whole = [len(p) for p in seeing.pictures]
    for limit in range(60, len(talk), 7):
        found = talk.trimmed(limit)
        if found is None:
            continue
        shown = found[0].prompt >= FIRST_ID
        edges = np.flatnonzero(np.diff(np.concatenate([[0], shown.astype(int), [0]])))
        runs = edges[1::2] - edges[::2]
        assert len(found[0]) <= limit and set(runs.tolist()) <= set(whole)
        seeing.vision.sight(found[0].prompt)
