"""Video clips with their captions as rows that NegBench's stages read, and the clips' frames where they lie on disk.

NegBench (arXiv 2501.09425, section 2.2) hands all captions of a clip (about 20 in MSR-VTT) to an LLM at once. Here one
caption stands for the clip in front: the one that shares most words with the others, so that an odd one out never does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from pydantic import Field

from negscale.core.backend import Image
from negscale.core.config import Config, Location
from negscale.core.image import ImageError
from negscale.core.pipeline import Listing, Shard, Source
from negscale.core.schema import ENVELOPE
from negscale.datasets.images import ImageReader
from negscale.storage.folder import open_folder

CLIP = pa.schema([
    ("image_path", pa.string()),  # of the video, relative to the source's root; what NegBench's CSV files call it
    ("image_id", pa.string()),  # of the video
    ("caption", pa.string()), ("image_captions", pa.list_(pa.string())), ("split", pa.string()),
    ("start_s", pa.float32()), ("end_s", pa.float32()),
])  # fmt: skip
TABLE = pa.schema([*ENVELOPE, *CLIP])
_WORD = re.compile(r"[^\W_]+")
_PICTURES = (".jpg", ".jpeg", ".png", ".webp")


class VideoCaptions:
    """Source: the rows of a source of `VIDEO` in the columns `CLIP`. Shards and ids stay."""

    schema = CLIP

    def __init__(self, videos: Source) -> None:
        self._videos = videos

    def list(self) -> Listing:
        """That of the videos, its index in the columns of this source."""
        listing = self._videos.list()
        index = listing.index
        return Listing(listing.shards, listing.identity, None if index is None else _renamed(index))

    def read(self, shard: Shard, index: pa.Table | None) -> pa.Table:
        """The shard's rows."""
        rows = self._videos.read(shard, index)
        return rows if rows.schema.equals(TABLE) else _renamed(rows)


def _renamed(rows: pa.Table) -> pa.Table:
    captions = rows["captions"].to_pylist()
    columns: dict[str, Any] = {
        **{name: rows[name] for name in ENVELOPE.names}, "image_path": rows["video_uri"], "image_id": rows["video_id"],
        "caption": pa.array([representative(said or []) for said in captions], pa.string()),
        "image_captions": rows["captions"], "split": rows["split"], "start_s": rows["start_s"], "end_s": rows["end_s"],
    }  # fmt: skip
    return pa.table(columns, schema=TABLE)


def representative(captions: Sequence[str]) -> str:
    """The caption whose words the others share most (mean Jaccard index; the first of equals); "" where there is none.

    >>> representative(["a man talks", "a man drives a car", "a man is driving a red car", "a car"])
    'a man drives a car'
    """
    words = [frozenset(_WORD.findall(caption.lower())) for caption in captions]
    shared = [
        sum(len(mine & other) / len(mine | other) for k, other in enumerate(words) if k != at and mine | other)
        for at, mine in enumerate(words)
    ]  # fmt: skip
    return captions[shared.index(max(shared))] if captions else ""


class FramesConfig(Config):
    """Frames of clips, one folder a clip: ROOT/video7010/*.jpg, named in the order of time."""

    root: Location
    """Folder or URI that holds the clips' folders, named by video id."""
    count: int = Field(default=4, ge=1)
    """Frames looked at, those in the middle of as many equal parts of the clip (NegBench takes 4)."""

    def build(self) -> FrameReader:
        """Reads the frames."""
        return FrameReader(self.root, self.count)


class FrameReader:
    """Frames of a clip by its id. Picklable."""

    def __init__(self, root: str, count: int) -> None:
        self.root, self.count = root, count

    def read(self, video_id: str) -> list[Image]:
        """The frames, in order; raises ImageError where the clip has none or one cannot be read."""
        if not video_id or "/" in video_id or "\\" in video_id or video_id in (".", ".."):
            raise ImageError("forbidden_path", f"{video_id!r} is no name of a folder below {self.root!r}")
        try:
            found = [entry.path for entry in open_folder(self.root).list(video_id)]
        except (FileNotFoundError, NotADirectoryError):
            found = []
        names = sorted(path for path in found if path.lower().endswith(_PICTURES))
        if not names:
            raise ImageError("missing_image", f"{self.root}/{video_id} holds no frames (*.jpg, *.png, *.webp)")
        reader = ImageReader(self.root)
        chosen = [names[int((k + 0.5) * len(names) / self.count)] for k in range(self.count)]
        return [reader.read({"uri": name}) for name in dict.fromkeys(chosen)]
