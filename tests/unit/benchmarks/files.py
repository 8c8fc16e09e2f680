"""Small benchmark files and vectors for tests; images are drawn scenes and small PNG files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from negscale.benchmarks.encoding import Vectors, wanted
from negscale.benchmarks.pictures import Picture

MCQ = (
    "image_path,correct_answer,caption_0,caption_1,caption_2,caption_3,correct_answer_template\r\n"
    '/home/author/coco/val2017/000000000001.jpg,0,"A knife, but no car.","A car, but no knife.",A car.,No knife.,hybrid\r\n'
    'C:\\data\\val2017\\000000000002.jpg,1,A car.,There is no car.,"A car, but no dog.",No dog.,negative\r\n'
)
RETRIEVAL = (
    "positive_objects,negative_objects,filepath,image_id,captions\n"
    '"[\'dog\']","[\'car\']",data/coco/images/val2017/000000000001.jpg,1,"[\'A dog.\', ""A dog\'s bowl.""]"\n'
    "\"['cat']\",[],data/coco/images/val2017/000000000002.jpg,2,\"['A cat.']\"\n"
)


def png(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (24, 16)) -> Path:
    """A picture of one colour, (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


def vectors_of(
    items: pa.Table, pictures: Mapping[str, Sequence[float]], texts: Mapping[str, Sequence[float]]
) -> Vectors:
    """Vectors by image path and by text; what is not named has none."""
    shown = [Picture(path) if not isinstance(path, Picture) else path for path in pictures]
    return Vectors(
        {picture: at for at, picture in enumerate(shown)}, {text: at for at, text in enumerate(texts)},
        np.array(list(pictures.values()), np.float32), np.array(list(texts.values()), np.float32),
    )  # fmt: skip


def same_vectors(items: pa.Table, width: int = 8) -> Vectors:
    """One vector for every picture and every text: a model without an opinion."""
    pictures, texts = wanted([items])
    vector = np.full(width, width**-0.5, np.float32)
    rows = {picture: at for at, picture in enumerate(pictures)}
    return Vectors(
        rows, {text: at for at, text in enumerate(texts)}, np.tile(vector, (len(pictures), 1)),
        np.tile(vector, (len(texts), 1)),
    )  # fmt: skip
