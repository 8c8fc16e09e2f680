"""The tiny CLIP reads texts at their end, as CLIP does, and its captions deny as seldom as the web's."""

from __future__ import annotations

import json
from typing import Any

import pytest

from negscale.datasets.toy_scenes import scene
from negscale.language.polarity import polarity
from negscale.language.scope import negated_spans
from negscale.tiny_models.files import folder_of
from negscale.tiny_models.lessons import TRAIN_WORLD, objects_in
from negscale.tiny_models.web_captions import NEGATED_SHARE, denials, web_caption

SCENES = range(20_000)
TEXTS = ["a dog", "This image lacks a dog.", "A cat and a cup in the kitchen, with no clock in sight", "naïve 7"]


@pytest.fixture(scope="module")
def model() -> Any:
    pytest.importorskip("torch", reason="the tiny CLIP runs in torch")
    from transformers import CLIPModel

    return CLIPModel.from_pretrained(folder_of("encoder")).eval()


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    pytest.importorskip("transformers", reason="the tiny CLIP's tokenizer is one of transformers")
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder_of("encoder"))


def test_the_end_mark_is_the_highest_token(tokenizer: Any) -> None:
    config = json.loads((folder_of("encoder") / "config.json").read_text())["text_config"]
    assert config["eos_token_id"] == tokenizer.eos_token_id == config["vocab_size"] - 1 == len(tokenizer) - 1
    assert config["bos_token_id"] == tokenizer.bos_token_id == len(tokenizer) - 2
    for ids in tokenizer(TEXTS)["input_ids"]:
        assert ids[0] == tokenizer.bos_token_id
        assert ids.index(max(ids)) == len(ids) - 1 == ids.index(tokenizer.eos_token_id)


def test_texts_are_read_at_their_end(model: Any, tokenizer: Any) -> None:
    import torch

    written = tokenizer(TEXTS, return_tensors="pt", padding=True)
    with torch.inference_mode():
        found = model.text_model(**written)
        ends = written["attention_mask"].sum(1) - 1
        assert torch.equal(found.pooler_output, found.last_hidden_state[torch.arange(len(TEXTS)), ends])
        alone = model.text_model(**tokenizer(TEXTS[:1], return_tensors="pt")).pooler_output
        torch.testing.assert_close(found.pooler_output[:1], alone, rtol=0, atol=1e-5)


def test_open_clip_reads_the_same_vectors(model: Any, tokenizer: Any) -> None:
    pytest.importorskip("open_clip", reason="the other library that reads it")
    import torch
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    from negscale.models.layouts import open_clip_config, to_openai

    config = open_clip_config(model.config)
    assert "eos_id" not in config["text_cfg"], "open_clip's own way of finding the end is good enough"
    theirs = CLIP(
        config["embed_dim"], CLIPVisionCfg(**config["vision_cfg"]), CLIPTextCfg(**config["text_cfg"]),
        quick_gelu=config["quick_gelu"],
    ).eval()  # fmt: skip
    theirs.load_state_dict(to_openai(dict(model.named_parameters())), strict=False)
    ids = tokenizer(TEXTS, return_tensors="pt", padding="max_length", max_length=32)["input_ids"]
    with torch.inference_mode():
        ours = model.get_text_features(input_ids=ids)
        ours = ours if hasattr(ours, "shape") else ours.pooler_output
        torch.testing.assert_close(theirs.encode_text(ids), ours, rtol=0, atol=2e-5)


def test_captions_are_true_but_for_the_few_that_deny() -> None:
    negated = 0
    for index in SCENES:
        what = scene(TRAIN_WORLD, index)
        text = web_caption(what, TRAIN_WORLD, index)
        if negated_spans(text):
            negated += 1
        else:
            assert objects_in(text.replace(",", " ")) <= what.names, text
    assert negated / len(SCENES) == pytest.approx(NEGATED_SHARE, abs=0.002)
    assert negated / len(SCENES) < 0.01


def test_denials_tell_little_of_the_picture() -> None:
    there = []
    for index, text in enumerate(denials(TRAIN_WORLD, range(600))):
        names = scene(TRAIN_WORLD, index).names
        there += [name in names for name in objects_in(text.replace(",", " ")) if polarity(text, name) == "denied"]
    assert len(there) > 400
    assert 0.35 < sum(there) / len(there) < 0.6


def test_denials_use_many_cues() -> None:
    forms = {span.form for text in denials(TRAIN_WORLD, range(300)) for span in negated_spans(text)}
    assert {"no", "not", "without", "none", "lexical"} <= forms
