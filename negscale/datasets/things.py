"""Distinct pictures and texts, named by their content: what a dual encoder embeds once for every use.

A list of things is one Parquet file, made by whoever needs the vectors: an evaluation makes one of all its benchmarks,
where the released evaluators each read and encode their own. The file says which rows are a shard and which of them go
through the model together, so that equal lists give equal vectors to the last bit, on any number of workers.

What a picture is follows the released scorers: NegRefCOCOg's regions (arXiv 2501.10913) are crops rounded as Pillow
does, NegBench's clips (arXiv 2501.09425) four frames at the middles of four equal intervals. Crops are cut at the border.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from negscale.core.backend import Image
from negscale.core.config import Config, Location
from negscale.core.errors import ConfigError, PlanError
from negscale.core.image import ImageError
from negscale.core.pipeline import Listing, Shard
from negscale.core.schema import IMAGE
from negscale.datasets.images import ImageReader
from negscale.storage.folder import open_folder

FRAMES = 4
VIDEOS = (".mp4", ".avi", ".webm", ".mkv", ".mov")
THING = pa.schema([
    ("image", IMAGE), ("box_xywh_px", pa.list_(pa.float64())),  # an image, a clip, or a region of an image; null of texts
    ("text", pa.string()),  # null of pictures
    ("batch", pa.int32()),  # rows of one number go through the model together
])  # fmt: skip
THINGS_FILE = pa.schema([("id", pa.string()), ("shard", pa.string()), *THING])


class ThingsConfig(Config):
    """A list of distinct pictures and texts."""

    kind: Literal["things"] = "things"
    uri: Location
    """The Parquet file: id, shard, image, box_xywh_px, text, batch."""
    image_root: Location = ""
    """Folder or URI that the images are relative to."""

    def build(self) -> ThingsSource:
        """The source."""
        return ThingsSource(self)

    def reader(self) -> ImageReader:
        """Reads the images that the rows refer to."""
        return ImageReader(self.image_root)


class ThingsSource:
    """The rows of the file, in shards as it says."""

    schema = THING

    def __init__(self, config: ThingsConfig) -> None:
        self.config = config

    def list(self) -> Listing:
        """The file's shards; its rows become the run's index. Raises ConfigError without the file, PlanError for another one."""
        folder, _, name = self.config.uri.rpartition("/")
        try:
            table = pq.read_table(pa.BufferReader(open_folder(folder or ".").read(name)))
        except FileNotFoundError:
            raise ConfigError(f"source.uri: there is no list of things {self.config.uri}") from None
        except pa.ArrowInvalid as error:
            raise PlanError(f"source.uri: {self.config.uri} is no Parquet file: {error}") from None
        if table.schema.names != THINGS_FILE.names:
            raise PlanError(
                f"source.uri: {self.config.uri} has the columns {table.schema.names}, not {THINGS_FILE.names}"
            )
        shards: list[Shard] = []
        names, start = table["shard"].to_pylist(), 0
        for at in range(1, len(names) + 1):
            if at == len(names) or names[at] != names[start]:
                shards.append(Shard(names[start], at - start))
                start = at
        if len({shard.name for shard in shards}) != len(shards):
            raise PlanError(f"source.uri: the rows of a shard of {self.config.uri} do not stand together")
        return Listing(tuple(shards), {"things": digest_of(table), "rows": len(table)}, table.drop_columns(["shard"]))

    def read(self, shard: Shard, index: pa.Table | None) -> pa.Table:
        """The rows of a shard: those of the index."""
        assert index is not None
        return index


def digest_of(things: pa.Table) -> str:
    """32 hex digits over the names of things and how they are divided, whatever their images are called."""
    digest = sha256()
    for row in zip(*(things[name].to_pylist() for name in ("id", "shard", "batch")), strict=True):
        digest.update("\t".join(map(str, row)).encode() + b"\n")
    return digest.hexdigest()[:32]


class PictureReader:
    """Pixels of things that are pictures. Picklable, thread-safe."""

    def __init__(self, images: ImageReader) -> None:
        self._images = images

    def views(self, image: Mapping[str, Any], box: Sequence[float] | None) -> list[Image]:
        """uint8[H, W, 3] arrays whose mean vector stands for the picture: one, or the frames of a clip. Raises ImageError."""
        if is_video(image["uri"] or ""):
            return frames(self._images.read_bytes(image), FRAMES)
        pixels = self._images.read(image)
        return [crop(pixels, box) if box else pixels]


def is_video(path: str) -> bool:
    """A clip, by its ending."""
    return path.lower().endswith(VIDEOS)


def picture_key(content: bytes, path: str, box: Sequence[float] = ()) -> bytes:
    """32 bytes that name a picture. content: SHA-256 of the file; equal files and boxes, equal key, whatever the path."""
    if not box and not is_video(path):
        return content
    how = f"frames {FRAMES}" if is_video(path) else "crop " + " ".join(map(repr, box))
    return sha256(content + how.encode()).digest()


def text_key(text: str) -> bytes:
    """32 bytes that name a text."""
    return sha256(text.encode("utf-8", "surrogatepass")).digest()


def crop(image: Image, box: Sequence[float]) -> Image:
    """The region x, y, w, h of uint8[H, W, 3], corners rounded as Pillow does. Raises ImageError when nothing is left."""
    x, y, w, h = box
    left, top, right, bottom = (round(v) for v in (x, y, x + w, y + h))
    region = image[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    if 0 in region.shape:
        height, width = image.shape[:2]
        raise ImageError(
            "unreadable_image", f"the box {list(box)} lies outside of the image of {width} x {height} pixels"
        )
    return region


def frames(data: bytes, count: int) -> list[Image]:
    """`count` frames of a clip, at the middles of as many equal intervals. Raises ImageError for what is no video."""
    import cv2

    reader: Any = cv2
    with tempfile.NamedTemporaryFile(suffix=".video") as file:
        file.write(data)
        file.flush()
        clip = reader.VideoCapture(file.name)
        try:
            total = int(clip.get(reader.CAP_PROP_FRAME_COUNT))
            wanted = {int((n + 0.5) * total / count) for n in range(count)}
            found: dict[int, Image] = {}
            for number in range(max(wanted) + 1 if total > 0 else 0):
                if not clip.grab():
                    break
                if number in wanted:
                    ok, picture = clip.retrieve()
                    if ok:
                        found[number] = reader.cvtColor(picture, reader.COLOR_BGR2RGB)
        finally:
            clip.release()
    if not found:
        raise ImageError("unreadable_image", f"no frame of the clip of {len(data)} bytes can be decoded")
    held = [found[n] for n in sorted(found)]
    # counts in files may be too high
    return [found.get(int((n + 0.5) * total / count), held[-1]) for n in range(count)]
