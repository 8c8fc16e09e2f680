"""Promise: what a training leaves drops into open_clip, transformers and diffusers with the same outputs, and says what it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from negscale.training.config import TrainConfig
from negscale.training.export import export_checkpoint, trained_model
from negscale.training.run import train_run, training_uri
from tests.acceptance.verdict import verdict
from tests.unit.training.made_runs import caption_run
from tests.unit.training.tiny_clip import open_clip_folder

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(900)]

TEXTS = ["a dog on a beach", "a man with no hat", "a street without any cars, but with two horses"]


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two epochs of a small ViT of open_clip's with CLIP's tokenizer."""
    root = tmp_path_factory.mktemp("training")
    config = TrainConfig.model_validate({
        "model": open_clip_folder(root / "model"), "data": [{"uri": caption_run(root / "run", (20, 20))}], "epochs": 2,
        "batch_rows": 8, "objective": {"kind": "negationclip"}, "optimiser": {"rate": 1e-3}, "holdout": {"share": 0.3},
        "runtime": {"run_root": str(root), "device": "cpu"},
    })  # fmt: skip
    train_run("train_clip_text_small", config)
    return training_uri("train_clip_text_small", config)


@pytest.fixture(scope="module")
def expected(training: str) -> tuple[Tensor, Tensor, Tensor]:
    """(tokens, text vectors, image vectors) of the trained model before any export."""
    import open_clip

    trained = trained_model(training)
    ids = open_clip.get_tokenizer("ViT-B-32")(TEXTS)
    with torch.no_grad():
        return (
            ids,
            trained.model.encode_text(ids, normalize=True),
            trained.model.encode_image(_pixels(), normalize=True),
        )


def _pixels() -> Tensor:
    return torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(4))


def _gap(found: Any, wanted: Any) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(found, wanted, strict=True))


def test_open_clip_and_transformers(training: str, expected: tuple[Tensor, Tensor, Tensor]) -> None:
    import open_clip
    from transformers import CLIPModel, CLIPTokenizer

    ids, text, image = expected
    begun = open_clip.create_model(f"local-dir:{Path(training).parents[2] / 'model'}").eval()
    opened = open_clip.create_model(f"local-dir:{export_checkpoint(training, 'open-clip')['path']}").eval()
    folder = export_checkpoint(training, "clip")["path"]
    clip: Any = CLIPModel.from_pretrained(folder)
    framed = CLIPTokenizer.from_pretrained(folder)(TEXTS, padding="max_length", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        by_open_clip = opened.encode_text(ids, normalize=True), opened.encode_image(_pixels(), normalize=True)
        found = clip.eval()(input_ids=framed, pixel_values=_pixels())
        moved = float((begun.encode_text(ids, normalize=True) - text).abs().max())
    gaps = _gap(by_open_clip, (text, image)), _gap((found.text_embeds, found.image_embeds), (text, image))
    verdict(
        "exports load in open_clip and transformers and give the trained model's outputs",
        max(gaps) < 1e-5 and moved > 1e-3, open_clip=gaps[0], transformers=gaps[1], text_moved_by_training=moved,
    )  # fmt: skip


def test_diffusers(training: str, expected: tuple[Tensor, Tensor, Tensor], tmp_path: Path) -> None:
    """As text encoder and tokenizer of a pipeline that diffusers saves and loads."""
    import diffusers
    from transformers import CLIPTextModel, CLIPTokenizer

    _, text, _ = expected
    library: Any = diffusers
    folder = export_checkpoint(training, "clip-text")["path"]
    encoder: Any = CLIPTextModel.from_pretrained(folder)
    unet = library.UNet2DConditionModel(
        sample_size=8, block_out_channels=(32, 32), layers_per_block=1, cross_attention_dim=encoder.config.hidden_size,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )  # fmt: skip
    pipeline = library.StableDiffusionPipeline(
        vae=library.AutoencoderKL(block_out_channels=(32,), norm_num_groups=32), unet=unet, text_encoder=encoder,
        tokenizer=CLIPTokenizer.from_pretrained(folder), scheduler=library.DDIMScheduler(), safety_checker=None,
        feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipeline.save_pretrained(tmp_path / "pipeline")
    loaded: Any = library.StableDiffusionPipeline.from_pretrained(tmp_path / "pipeline", safety_checker=None)
    trained = trained_model(training).model
    ids = loaded.tokenizer(TEXTS, padding="max_length", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        states, _ = loaded.encode_prompt(TEXTS, "cpu", 1, False)
        pooled = states[torch.arange(len(ids)), (ids == loaded.tokenizer.eos_token_id).int().argmax(1)]
        gap = _gap([F.normalize(pooled @ trained.text_projection, dim=-1)], [text])
        picture = loaded(TEXTS[1], num_inference_steps=1, height=16, width=16, output_type="np").images[0]
    verdict(
        "the text encoder stands in a diffusers pipeline and conditions it as trained",
        gap < 1e-5 and picture.shape[-1] == 3, gap=gap, tokens=int(ids.shape[1]),
    )  # fmt: skip


def test_the_card(training: str) -> None:
    out = Path(f"{training}/card-export")
    export_checkpoint(training, "clip", str(out))
    card, facts = (out / "README.md").read_text(), json.loads((out / "negscale.json").read_text())
    run = facts["data"][0]
    wanted = [
        run["run_fingerprint"],
        run["content_digest"],
        "negationclip",
        "validation_choice",
        "30% by image",
        facts["training"],
    ]
    missing = [word for word in wanted if word not in card]
    verdict(
        "the model card names data, recipe and evaluation", not missing and facts["validation"], missing=missing,
        characters=len(card), validated_steps=list(facts["validation"]),
    )  # fmt: skip
