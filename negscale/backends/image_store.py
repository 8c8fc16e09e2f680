"""Images that a stage makes: encoded by threads, kept as one tar per batch in the run folder, given back as IMAGE structs.

Encoding (5 to 20 ms for a 512 px PNG) overlaps with the model that makes the next image. A struct's `uri` is relative to the
folder of the run, as it is for fetched images: rows and images move together.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import sha256
from types import TracebackType
from typing import Any, Literal

from pydantic import Field

from negscale.core.backend import Image
from negscale.core.config import Config
from negscale.core.errors import FatalError
from negscale.core.image import encode
from negscale.storage.blobs import Spool, TarBlob
from negscale.storage.folder import Folder, LocalFolder, open_folder

IMAGES = "images"  # folder of the tars, below the run folder
_ENCODERS = 4  # the images of a last call, which no next call hides, are waited for
_AHEAD = 64  # images that wait for an encoder, two calls of an editor: bounds the memory (50 MB at 512 px)
_STALE_S = 6 * 3600.0


class ImageStoreConfig(Config):
    """The format of stored images."""

    format: Literal["png", "jpeg"] = "png"
    """png keeps every value, jpeg is about a fifth of the size (NeIn's released images are JPEG)."""
    quality: int = Field(default=95, ge=50, le=100)
    """JPEG's quality; colours are not subsampled."""

    def build(self, store: str = "") -> ImageStore:
        """A store whose images go to STORE/images."""
        return ImageStore(self, store)


class ImageStore:
    """Opens batches; thread-safe between `load` and `close`."""

    def __init__(self, config: ImageStoreConfig, store: str) -> None:
        self._config, self._store = config, store
        self._folder: Folder | None = None
        self._pool: ThreadPoolExecutor | None = None

    def load(self) -> None:
        """Open the folder and start the encoders. Raises FatalError when no folder was given."""
        if not self._store:
            raise FatalError("the image store has no folder; build it with build(store=URI of the run folder)")
        self._folder = open_folder(self._store)
        if isinstance(self._folder, LocalFolder):
            self._folder.sweep_temporary(IMAGES, _STALE_S)  # what killed workers left
        self._pool = ThreadPoolExecutor(_ENCODERS, thread_name_prefix="negscale-encode")

    def batch(self) -> ImageBatch:
        """An empty batch, to be used as a context manager."""
        if self._folder is None or self._pool is None:
            raise FatalError("the image store is not loaded; call load() first")
        return ImageBatch(self._config, self._folder, self._pool)

    def close(self) -> None:
        """End the encoders."""
        if self._pool is not None:
            self._pool.shutdown()
        self._pool = self._folder = None


class ImageBatch:
    """The images of one call of a stage. Nothing is stored before `commit`; leaving the block without it stores nothing."""

    def __init__(self, config: ImageStoreConfig, folder: Folder, pool: ThreadPoolExecutor) -> None:
        self._config, self._folder, self._pool = config, folder, pool
        self._spool = Spool()
        self._waiting: deque[Future[tuple[bytes, dict[str, Any]]]] = deque()
        self._done: list[tuple[tuple[int, int], dict[str, Any]]] = []

    def __enter__(self) -> ImageBatch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for future in self._waiting:
            future.cancel()
        self._spool.close()

    def add(self, image: Image) -> int:
        """Take an image uint8[H, W, 3], which must not be changed afterwards; returns its number in `commit`'s list."""
        self._waiting.append(self._pool.submit(self._encoded, image))
        number = len(self._done) + len(self._waiting) - 1
        while len(self._waiting) > _AHEAD or (self._waiting and self._waiting[0].done()):
            self._keep(self._waiting.popleft())
        return number

    def _encoded(self, image: Image) -> tuple[bytes, dict[str, Any]]:
        data = encode(image, self._config.format, quality=self._config.quality)
        height, width = image.shape[:2]
        return data, {"sha256": sha256(data).digest(), "height_px": height, "width_px": width}

    def _keep(self, future: Future[tuple[bytes, dict[str, Any]]]) -> None:
        data, facts = future.result()
        self._done.append((self._spool.append([data]), facts))

    def commit(self) -> list[dict[str, Any]]:
        """Store the images; their IMAGE structs in the order of `add`. Equal images are stored once."""
        while self._waiting:
            self._keep(self._waiting.popleft())
        if not self._done:
            return []
        extension = "jpg" if self._config.format == "jpeg" else "png"
        refs = []
        with TarBlob(self._folder, IMAGES) as blob:
            for (at, length), facts in self._done:
                offset = blob.add(self._spool.read(at, length), facts["sha256"], extension)
                refs.append({"uri": "", "offset": offset, "length": length, **facts})
            uri = blob.commit()
        return [{**ref, "uri": uri} for ref in refs]
