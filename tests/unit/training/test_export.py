"""Exports load in open_clip and transformers and give the same outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from negscale.core.errors import ConfigError, PlanError
from negscale.models.layouts import to_openai, to_transformers
from negscale.training.config import TrainConfig
from negscale.training.export import (
    Trained,
    export_checkpoint,
    is_training,
    write_clip,
    write_clip_text,
    write_open_clip,
    write_openai,
)
from negscale.training.run import train_run, training_uri
from tests.unit.training.made_runs import caption_run
from tests.unit.training.tiny_clip import TINY, open_clip_folder, small_clip, small_open_clip

PIXELS = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(4))
TEXTS = ["a dog on a beach", "a man with no hat", "a street without any cars, but with two horses"]


def same(found: Any, expected: Any) -> None:
    for a, b in zip(found, expected, strict=True):
        assert float((a - b).abs().max()) < 1e-5


def of_open_clip(model: Any, ids: Tensor, pixels: Tensor = PIXELS) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        return model.encode_text(ids, normalize=True), model.encode_image(pixels, normalize=True)


def of_clip(model: Any, ids: Tensor, pixels: Tensor = PIXELS) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        found = model(input_ids=ids, pixel_values=pixels)
    return found.text_embeds, found.image_embeds


def trained(model: Any, tokenizer: Any = None) -> Trained:
    return Trained(model, tokenizer, {"size_px": 64, "mean": [0.5] * 3, "std": [0.25] * 3}, {})


@pytest.mark.parametrize("quick_gelu", [True, False])
def test_open_clip_to_every_format(tmp_path: Path, quick_gelu: bool) -> None:
    from transformers import CLIPModel, CLIPTextModel, CLIPTokenizer

    model, tokenizer = small_open_clip(quick_gelu=quick_gelu), open_clip.get_tokenizer("ViT-B-32")
    ids = tokenizer(TEXTS)
    expected = of_open_clip(model, ids)
    for folder in ("open", "openai", "clip", "text"):
        (tmp_path / folder).mkdir()
    write_open_clip(trained(model, tokenizer), tmp_path / "open")
    same(of_open_clip(open_clip.create_model(f"local-dir:{tmp_path / 'open'}").eval(), ids), expected)
    write_clip(trained(model, tokenizer), tmp_path / "clip")
    theirs = CLIPTokenizer.from_pretrained(tmp_path / "clip")
    framed = theirs(TEXTS, padding="max_length", return_tensors="pt")["input_ids"]
    lengths = (ids != 0).sum(1)
    assert all(
        torch.equal(framed[i, :n], ids[i, :n]) for i, n in enumerate(lengths)
    )  # one padding is 0, the other the end
    same(of_clip(CLIPModel.from_pretrained(tmp_path / "clip").eval(), framed), expected)
    write_clip_text(trained(model, tokenizer), tmp_path / "text")
    text = CLIPTextModel.from_pretrained(tmp_path / "text").eval()
    with torch.no_grad():
        same([F.normalize(text(framed).pooler_output @ model.text_projection, dim=-1)], expected[:1])
    if not quick_gelu:
        with pytest.raises(ConfigError, match="QuickGELU"):
            write_openai(trained(model), tmp_path / "openai")
        return
    write_openai(trained(model), tmp_path / "openai")
    from open_clip.model import build_model_from_openai_state_dict  # a copy of OpenAI's build_model

    state = load_file(tmp_path / "openai" / "model.safetensors")
    rebuilt = build_model_from_openai_state_dict(dict(state), cast_dtype=torch.float32).float()
    rebuilt.load_state_dict(state)  # the builder rounds to half precision on the way, as OpenAI's does
    same(of_open_clip(rebuilt, ids), expected)


@pytest.mark.parametrize(("eos", "act"), [(199, "quick_gelu"), (7, "gelu"), (2, "quick_gelu")])
def test_transformers_to_open_clip_and_back(tmp_path: Path, eos: int, act: str) -> None:
    from transformers import AutoTokenizer, CLIPModel

    model, tokenizer = small_clip(eos=eos, act=act), AutoTokenizer.from_pretrained(TINY.path)
    ids = torch.tensor([[198, 3, 4, eos, *[0] * 16], [198, 9, 120, 33, 12, eos, *[0] * 14], [198, 80, eos, *[0] * 17]])
    expected = of_clip(model, ids)
    for folder in ("open", "clip"):
        (tmp_path / folder).mkdir()
    write_open_clip(trained(model, tokenizer), tmp_path / "open")
    same(of_open_clip(open_clip.create_model(f"local-dir:{tmp_path / 'open'}").eval(), ids), expected)
    again = open_clip.get_tokenizer(f"local-dir:{tmp_path / 'open'}")(TEXTS)
    assert torch.equal(
        again[:, :8],
        tokenizer(TEXTS, padding="max_length", max_length=20, truncation=True, return_tensors="pt")["input_ids"][:, :8],
    )
    write_clip(trained(model, tokenizer), tmp_path / "clip")
    same(of_clip(CLIPModel.from_pretrained(tmp_path / "clip").eval(), ids), expected)
    there = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    back = to_transformers(to_openai(there))
    assert all(torch.equal(back[name], there[name]) for name in back)
    assert {name for name in there if not name.endswith("position_ids")} == set(back)


def test_a_checkpoint_on_top_of_its_model(tmp_path: Path) -> None:
    from transformers import CLIPModel

    run = caption_run(tmp_path / "run", (8, 8))
    config = TrainConfig.model_validate({
        "model": open_clip_folder(tmp_path / "model"), "data": [{"uri": run}], "epochs": 1, "batch_rows": 8,
        "objective": {"kind": "negationclip"}, "optimiser": {"rate": 1e-3}, "runtime": {"run_root": str(tmp_path), "device": "cpu"},
    })  # fmt: skip
    train_run("t", config)
    folder = training_uri("t", config)
    assert is_training(folder)
    assert not is_training(run)
    facts = export_checkpoint(folder, "clip")
    exported, begun = CLIPModel.from_pretrained(facts["path"]).eval(), small_open_clip()
    ids = open_clip.get_tokenizer("ViT-B-32")(TEXTS)
    text, image = of_clip(exported, ids)
    was = of_open_clip(begun, ids)
    same([image], was[1:])  # the image tower is the old one
    assert float((text - was[0]).abs().max()) > 1e-3  # the text encoder is not
    assert json.loads((Path(facts["path"]) / "negscale.json").read_text())["step"] == 2
    other = export_checkpoint(folder, "open-clip")
    same(of_open_clip(open_clip.create_model(f"local-dir:{other['path']}").eval(), ids), (text, image))
    with pytest.raises(PlanError, match="exists"):
        export_checkpoint(folder, "clip")
    with pytest.raises(ConfigError, match="known: open-clip"):
        export_checkpoint(folder, "onnx")


def test_a_blend_lies_between_the_start_and_what_was_learnt(tmp_path: Path) -> None:
    run = caption_run(tmp_path / "c", (6, 6))
    weights = {}
    for blend in (1.0, 0.25):
        config = TrainConfig.model_validate({
            "model": TINY.model_dump(mode="json"), "data": [{"uri": run}], "objective": {"kind": "negationclip"},
            "optimiser": {"rate": 1e-2}, "holdout": {"share": 0.0}, "epochs": 2, "batch_rows": 6, "blend": blend,
            "runtime": {"run_root": str(tmp_path / str(blend)), "device": "cpu"},
        })  # fmt: skip
        train_run("t", config)
        facts = export_checkpoint(training_uri("t", config), "open-clip")
        assert facts["config"]["blend"] == blend
        weights[blend] = load_file(f"{facts['path']}/open_clip_model.safetensors")
    from negscale.training.export import openai_state
    from negscale.training.loading import load_model

    start = openai_state(load_model(TINY)[0])
    moved = 0
    for name, whole in weights[1.0].items():
        torch.testing.assert_close(
            weights[0.25][name], start[name] + 0.25 * (whole - start[name]), rtol=1e-4, atol=1e-6
        )
        moved += not torch.equal(whole, start[name])
    assert moved > 5


def test_what_has_no_counterpart_is_named() -> None:
    with pytest.raises(ConfigError, match=r"visual\.attnpool\.c_proj\.weight"):
        to_transformers({"visual.attnpool.c_proj.weight": torch.zeros(1)})
