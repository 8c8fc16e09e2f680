"""What the frozen encoder says of the rows of a run, computed once and kept: image vectors, and captions before training.

One safetensors object a committed shard, named by the encoder and the run's content, so that other trainings on the same
rows find it. Workers start at different shards and skip what is there: no coordination, and a killed worker's shards are
made by the others. What differs: the released loops send every image through the tower at every epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from typing import Any

import numpy as np
import torch

from negscale.core.backend import Image
from negscale.core.errors import AuditError, IllModelError
from negscale.core.image import ImageError
from negscale.core.pipeline import Shard
from negscale.datasets.images import ImageReader
from negscale.datasets.run import RunSource
from negscale.models.weights import from_bytes, to_bytes
from negscale.storage.folder import Folder
from negscale.training.reader import ALONE, World

EmbedImages = Callable[[Sequence[Image]], np.ndarray]
EmbedTexts = Callable[[Sequence[str]], np.ndarray]
_READERS = 8


class Vectors:
    """Vectors of the rows of several runs; `ensure` makes what is missing, `read` gives float32[R, D] of a shard."""

    def __init__(
        self, folder: Folder, column: str, encoder_id: str, sources: Sequence[RunSource],
        readers: Sequence[ImageReader] | None = None,
    ) -> None:  # fmt: skip
        """column: `image` or a column of texts. encoder_id: names model, weights and processing.

        readers: one a source, for another column of images, which lie elsewhere.
        """
        self._folder, self._column, self._sources, self._readers = folder, column, sources, readers
        self._keys = [_key(encoder_id, column, source) for source in sources]

    def ensure(self, embed: EmbedImages | EmbedTexts, world: World = ALONE) -> int:
        """Embed every shard that is not there yet; returns how many this worker embedded."""
        todo = [(run, shard) for run, source in enumerate(self._sources) for shard in source.list().shards]
        start = len(todo) * world.rank // world.size
        there = {entry.path for key in set(self._keys) for entry in self._folder.list(key)}
        made = 0
        for run, shard in todo[start:] + todo[:start]:
            path = self._path(run, shard)
            if path in there or self._folder.exists(path):
                continue
            self._folder.put_if_absent(path, self._embedded(run, shard, embed))
            made += 1
        return made

    def missing(self) -> bool:
        """Whether a shard is still to be embedded."""
        there = {entry.path for key in set(self._keys) for entry in self._folder.list(key)}
        shards = ((run, shard) for run, source in enumerate(self._sources) for shard in source.list().shards)
        return any(self._path(run, shard) not in there for run, shard in shards)

    def read(self, run: int, shard: Shard) -> np.ndarray:
        """float32[R, D] in the order of the shard's rows; NaN where an image could not be read."""
        path = self._path(run, shard)
        try:
            found = from_bytes(self._folder.read(path), f"{self._folder.uri}/{path}")
        except FileNotFoundError:
            raise AuditError(f"{self._folder.uri}/{path} is gone; run the same command again to make it anew") from None
        # a row without a picture points at -1: the row of NaN that is put last
        vectors = torch.cat([found["vectors"], torch.full((1, found["vectors"].shape[1]), torch.nan)])
        return vectors[found["index"].long()].numpy()

    def _path(self, run: int, shard: Shard) -> str:
        return f"{self._keys[run]}/{shard.name}.safetensors"

    def _embedded(self, run: int, shard: Shard, embed: Any) -> bytes:
        source = self._sources[run]
        names = source.config.model_copy(update={"columns": (self._column,)}).build()
        column = names.read(shard, None)[self._column].to_pylist()
        if self._readers or self._column == "image":
            reader = self._readers[run] if self._readers else source.config.reader()
            return _images(column, reader, embed, f"shard {shard.name!r} of {source.config.uri}")
        texts = list(dict.fromkeys(column))
        number = {text: i for i, text in enumerate(texts)}
        index = torch.tensor([number[text] for text in column], dtype=torch.int32)
        return to_bytes({"vectors": torch.from_numpy(embed(texts)), "index": index})


def _images(refs: Sequence[dict[str, Any]], reader: ImageReader, embed: EmbedImages, where: str) -> bytes:
    """Each image once, however many rows show it. Raises IllModelError when not one of 16 or more can be read."""
    names = [(ref["uri"], ref["offset"], ref["sha256"]) if ref else ("", None, None) for ref in refs]
    first = {name: i for i, name in reversed(list(enumerate(names)))}
    wanted = sorted(first.values())
    with ThreadPoolExecutor(_READERS) as pool:
        pixels = list(pool.map(lambda i: _pixels(reader, refs[i]), wanted))
    readable = [i for i, image in zip(wanted, pixels, strict=True) if isinstance(image, np.ndarray)]
    if not readable and len(wanted) >= 16:
        raise IllModelError(
            f"{where}: none of {len(wanted)} images can be read ({pixels[0]}); set data.image_root to their folder"
        )
    found = embed([image for image in pixels if isinstance(image, np.ndarray)])
    number = {names[i]: k for k, i in enumerate(readable)}
    index = torch.tensor([number.get(name, -1) for name in names], dtype=torch.int32)
    return to_bytes({"vectors": torch.from_numpy(found), "index": index})


def _pixels(reader: ImageReader, ref: dict[str, Any] | None) -> Image | str:
    try:
        return reader.read(ref or {"uri": ""})
    except ImageError as error:
        if error.retryable:
            raise
        return str(error)


def _key(encoder_id: str, column: str, source: RunSource) -> str:
    content = source.list().identity["content_digest"]
    digest = blake2b(f"{encoder_id}\n{column}\n{content}\n{source.config.image_root}".encode(), digest_size=12)
    return f"vectors/{column}-{digest.hexdigest()}"
