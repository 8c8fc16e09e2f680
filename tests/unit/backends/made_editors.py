"""A small InstructPix2Pix with random weights as a diffusers folder, for tests of the adapters over diffusers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from negscale.core.backend import EditRequest, Image


def make_instruct_pix2pix(folder: Path) -> Path:
    """The tiny editor before its training: an edit is a repeatable mess that depends on image, words and seed."""
    import torch

    from negscale.tiny_models import editor

    torch.manual_seed(0)
    tokenizer = editor.instruction_tokenizer()
    parts = (editor.new_autoencoder(), editor.new_denoiser(), editor.new_text_tower(tokenizer))
    editor.new_pipeline(tokenizer, *parts).save_pretrained(folder)
    return folder


def picture(seed: int, height: int = 48, width: int = 64) -> Image:
    """Noise in blocks, uint8[H, W, 3]."""
    blocks = np.random.default_rng(seed).integers(0, 255, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
    return blocks.repeat(8, 0).repeat(8, 1)[:height, :width].copy()


def requests(count: int, **size: Any) -> list[EditRequest]:
    """Edits of pictures that two in a row share, each with its words and seed."""
    words = ("Add a cat.", "Add an umbrella.", "Remove the hat.")
    return [
        EditRequest(picture(n // 2, **size), words[n % 3], seed=1000 + n, image_id=f"image-{n // 2}")
        for n in range(count)
    ]
