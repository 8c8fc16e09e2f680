"""A small annotated photograph set on disk, in COCO's layout: drawn things whose masks are known exactly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from negscale.core.backend import Image
from negscale.core.rng import rng_for

HEIGHT, WIDTH = 240, 320
CATEGORIES = {1: "cup", 2: "dog", 3: "dining table", 4: "kite"}
COLOURS = {1: (200, 40, 40), 2: (120, 80, 40), 3: (150, 110, 60), 4: (40, 160, 220)}


def ground(seed: int, height: int = HEIGHT, width: int = WIDTH, light: int = 0) -> Image:
    """A wall above a floor with a little noise; the same for equal seeds."""
    rng = rng_for(seed, "ground")
    image = np.full((height, width, 3), (205 + light, 210 + light, 200 + light), np.int16)
    image[height // 2 :] = (150 + light, 140 + light, 130 + light)
    return (image + rng.integers(-6, 7, image.shape)).clip(0, 255).astype(np.uint8)


def polygon(x: float, y: float, w: float, h: float) -> list[float]:
    """A hexagon that fills a box."""
    return [x, y + h / 2, x + w / 4, y, x + 3 * w / 4, y, x + w, y + h / 2, x + 3 * w / 4, y + h, x + w / 4, y + h]


def note(
    number: int, image: int, category: int, box: tuple[float, float, float, float], **values: Any
) -> dict[str, Any]:
    """An annotation as COCO writes it."""
    return {
        "id": number, "image_id": image, "category_id": category, "bbox": list(box), "iscrowd": 0,
        "segmentation": [polygon(*box)], **values,
    }  # fmt: skip


def make_set(folder: Path, notes: list[dict[str, Any]], missing: tuple[int, ...] = ()) -> tuple[Path, Path]:
    """(instances file, image folder): every annotation drawn as a hexagon of its class's colour into its image."""
    images = folder / "photographs"
    images.mkdir(parents=True, exist_ok=True)
    numbers = sorted({n["image_id"] for n in notes})
    for number in numbers:
        picture = Pillow.fromarray(ground(number))
        from PIL import ImageDraw

        pen = ImageDraw.Draw(picture)
        for one in notes:
            if one["image_id"] == number and isinstance(one["segmentation"], list):
                pen.polygon(
                    [tuple(p) for p in np.reshape(one["segmentation"][0], (-1, 2))], fill=COLOURS[one["category_id"]]
                )
        if number not in missing:
            picture.save(images / f"{number:012d}.png")
    document = {
        "images": [{"id": n, "file_name": f"{n:012d}.png", "height": HEIGHT, "width": WIDTH} for n in numbers],
        "categories": [{"id": key, "name": name} for key, name in CATEGORIES.items()], "annotations": notes,
    }  # fmt: skip
    path = folder / "instances.json"
    path.write_text(json.dumps(document))
    return path, images
