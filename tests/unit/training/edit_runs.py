"""A small finished nein run, and small editors with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from negscale.core.image import encode
from negscale.core.schema import EDIT_PLAN, ENVELOPE, IMAGE, INSTRUCTIONS
from negscale.datasets.captions import image_ref
from negscale.datasets.toy_icons import OBJECTS
from negscale.datasets.toy_scenes import SCENE_PX, draw, scene
from negscale.language.instructions import fill
from negscale.prompts.nein import ADD, TEMPLATES, TWO_OBJECTS
from negscale.tiny_models.edit_lessons import with_object
from tests.unit.training.made_runs import finished_run

SCHEMA = pa.schema([
    *ENVELOPE, ("image", IMAGE), ("image_id", pa.string()), ("split", pa.string()), *EDIT_PLAN, *INSTRUCTIONS,
    ("two_objects_instruction", pa.string()), ("image_with_object", IMAGE),
])  # fmt: skip


def edit_run(folder: Path, rows_of_shards: tuple[int, ...] = (9, 7, 8), world: int = 5, eval_every: int = 6) -> str:
    """Drawn scenes with an object added; the images with it are files of the run. Every sixth row is of split eval."""
    (folder / "images").mkdir(parents=True)
    number, tables = 0, []
    for rows in rows_of_shards:
        made = [_row(folder, world, number + k, eval_every) for k in range(rows)]
        number += rows
        tables.append(pa.Table.from_pylist(made, SCHEMA))
    return finished_run(folder, "nein", tables)


def _row(folder: Path, world: int, number: int, eval_every: int) -> dict[str, Any]:
    bare = scene(world, number)
    absent = [name for name in OBJECTS if name not in bare.names and with_object(bare, name) is not None]
    name, other = absent[number % 3], absent[-1]
    full = with_object(bare, name)
    assert full is not None
    (folder / f"images/{number}.png").write_bytes(encode(draw(full)))
    template = TEMPLATES[number % len(TEMPLATES)]
    return {
        "id": f"toy-{number:04d}#0", "image": image_ref(f"toyworld:{world}/{number}"), "image_id": f"toy-{number:04d}",
        "split": "eval" if number % eval_every == 5 else "train", "caption": "A scene.", "absent_object": name,
        "add_instruction": fill(ADD, name), "negative_instruction": fill(template.negative, name),
        "affirmative_instruction": fill(template.affirmative, name), "keep_instruction": fill(template.negative, other),
        "kept_absent_object": other,
        "two_objects_instruction": fill(TWO_OBJECTS, name, min(bare.names)) if number % 2 else None,
        "image_with_object": image_ref(f"images/{number}.png", height_px=SCENE_PX, width_px=SCENE_PX),
    }  # fmt: skip


def small_editor(folder: Path, channels: int = 8, prediction: str = "epsilon", width: int = 8, seed: int = 0) -> str:
    """A pipeline of a UNet over `channels` inputs: 8 = InstructPix2Pix, 4 = text to image."""
    import diffusers
    import torch

    from negscale.tiny_models import editor

    torch.manual_seed(seed)
    library: Any = diffusers
    tokenizer = editor.instruction_tokenizer()
    vae = library.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2, block_out_channels=(8, 8),
        layers_per_block=1, latent_channels=4, norm_num_groups=4, sample_size=32, mid_block_add_attention=False,
    )  # fmt: skip
    unet = library.UNet2DConditionModel(
        sample_size=16, in_channels=channels, out_channels=4, block_out_channels=(width, 2 * width), layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=64, attention_head_dim=4, norm_num_groups=4,
    )  # fmt: skip
    scheduler = library.EulerAncestralDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type=prediction
    )
    name = "StableDiffusionInstructPix2PixPipeline" if channels == 8 else "StableDiffusionPipeline"
    getattr(library, name)(
        vae=vae, text_encoder=editor.new_text_tower(tokenizer), tokenizer=tokenizer, unet=unet, scheduler=scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip
    return str(folder)
