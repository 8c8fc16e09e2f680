"""Edits per second where arithmetic costs most: the editor against the loop of `tests.bench.edits`, a UNet of 70 M parameters.

Weights are random. Nothing is compiled; both in half precision as the scripts run, and once in float32.
"""

from __future__ import annotations

from typing import Any

from tests.bench.edits import BASELINE, EDITS, FULL, HALF, measure_ratio
from tests.bench.legs import Figures, LegError
from tests.bench.report import Bench

LARGE_PARAMETERS = 50_000_000
LARGE_TARGET = 1.0


def measure(bench: Bench) -> None:
    """Interleaved legs."""
    large_images, large_steps, repeats = bench.by_size(1, 2, 6), bench.by_size(1, 4, 10), bench.by_size(1, 3, 5)
    bench.baseline = BASELINE
    bench.config = {"edits_per_image": EDITS, "images": large_images, "steps": large_steps}
    large = bench.out / "models" / "ip2p-50m"
    if not (large / "model_index.json").is_file():
        bench.leg(make_large_leg, folder=str(large.resolve()))
    run = {
        "folder": str(large.resolve()),
        "images": large_images,
        "steps": large_steps,
        "batch": EDITS,
        "compiled": False,
        "attention": "sdpa",
    }
    measure_ratio(bench, "large, not compiled", repeats, LARGE_TARGET, {**run, "dtype": HALF, "done": 0})
    measure_ratio(bench, "large, float32, not compiled", 1, None, {**run, "dtype": FULL, "done": 0})


def make_large_leg(folder: str, work: str) -> Figures:
    """An InstructPix2Pix with a random UNet of at least 50 million parameters."""
    import diffusers
    import torch

    from negscale.tiny_models import editor

    torch.manual_seed(0)
    tokenizer = editor.instruction_tokenizer()
    latent = editor.new_autoencoder()
    channels = latent.config.latent_channels
    library: Any = diffusers
    unet = library.UNet2DConditionModel(
        sample_size=32, in_channels=2 * channels, out_channels=channels, block_out_channels=(128, 256, 512),
        layers_per_block=2, down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"), cross_attention_dim=64,
        attention_head_dim=8,
    )  # fmt: skip
    count = sum(values.numel() for values in unet.parameters())
    if count < LARGE_PARAMETERS:
        raise LegError(f"the large UNet has {count} parameters; wanted at least {LARGE_PARAMETERS}")
    editor.new_pipeline(tokenizer, latent, unet, editor.new_text_tower(tokenizer)).save_pretrained(folder)
    return {"parameters": count}
