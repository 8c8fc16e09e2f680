"""Cut towers give what uncut ones give: on open_clip models with random weights, short, long and empty texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from negscale.backends.dual_encoders import OpenClipEncoderConfig
from negscale.backends.text_lengths import causal_tower, encode_cut, ends_of_text
from tests.unit.backends.made_vision import make_open_clip

torch = pytest.importorskip("torch")
open_clip = pytest.importorskip("open_clip")

TEXTS = ["a dog", "", "a cat in the park, but no dog " * 20, "There is no car in the picture.", "no"]


def made(folder: Path, name: str, **text: Any) -> Any:
    shape = {
        "embed_dim": 24, "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 3, **text},
        **({"custom_text": True} if text else {}),
    }  # fmt: skip
    (folder / f"{name}.json").write_text(json.dumps(shape))
    open_clip.add_model_config(folder / f"{name}.json")
    torch.manual_seed(1)
    model = open_clip.create_model(name).eval()
    for weight in model.parameters():  # at open_clip's own scale the texts hardly differ
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=0.3)
    return model


@pytest.mark.parametrize(
    ("name", "text"), [
        ("made-cut-flat", {}), ("made-cut-argmax", {"pool_type": "argmax"}),
        ("made-cut-eos", {"pool_type": "eos", "eos_id": 49407}),
    ],
)  # fmt: skip
def test_cut_texts_have_the_vectors_of_padded_ones(tmp_path: Path, name: str, text: dict[str, Any]) -> None:
    model = made(tmp_path, name, **text)
    tokens = open_clip.get_tokenizer(name)(TEXTS)
    tower = causal_tower(model)
    assert ends_of_text(tower, tokens).tolist()[:3] == [3, 1, 76]
    with torch.inference_mode():
        whole = model.encode_text(tokens, normalize=True)
        cut = torch.nn.functional.normalize(encode_cut(tower, tokens), dim=-1)
        short = torch.nn.functional.normalize(encode_cut(tower, tokens[[0, 1, 4]]), dim=-1)
    assert (whole - cut).abs().max() < 1e-5
    assert (whole[[0, 1, 4]] - short).abs().max() < 1e-5
    assert (whole[0] - whole[3]).abs().max() > 1e-2


def test_texts_are_cut_in_whole_blocks_and_not_beyond_the_context(tmp_path: Path) -> None:
    model = made(tmp_path, "made-cut-blocks")
    tower, tokenizer, seen = causal_tower(model), open_clip.get_tokenizer("made-cut-blocks"), []
    tower.transformer.register_forward_pre_hook(lambda _module, given: seen.append(given[0].shape[1]))
    lengths = (3, 16, 17, 64, 65, 77)  # tokens with begin and end
    with torch.inference_mode():
        for length in lengths:
            tokens = tokenizer([" ".join(["dog"] * (length - 2))])
            assert int(ends_of_text(tower, tokens)) + 1 == length
            encode_cut(tower, tokens)
    assert seen == [16, 16, 32, 64, 77, 77]


def test_towers_that_look_ahead_are_not_cut(tmp_path: Path) -> None:
    for name, text in (
        ("made-both-ways", {"no_causal_mask": True}), ("made-class-token", {"embed_cls": True}),
        ("made-last", {"pool_type": "last"}),
    ):  # fmt: skip
        assert causal_tower(made(tmp_path, name, **text)) is None


def test_the_encoder_cuts_and_says_what_was_too_long(tmp_path: Path) -> None:
    name, path = make_open_clip(tmp_path)
    encoder = OpenClipEncoderConfig(model=name, path=str(path), run={"batch_size": 2}).build()  # type: ignore[arg-type]
    encoder.load()
    net = open_clip.create_model(name, pretrained=str(path)).eval()
    with torch.inference_mode():
        whole = net.encode_text(open_clip.get_tokenizer(name)(TEXTS), normalize=True).numpy()
    assert abs(encoder.encode_texts(TEXTS) - whole).max() < 1e-5
    assert encoder.too_long(TEXTS) == [False, False, True, False, False]
