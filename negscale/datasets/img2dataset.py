"""img2dataset's folders of files: 00000/000000017.jpg beside 00000.parquet, which lists every URL that was tried.

Its other layouts have sources of their own: tars are `webdataset`, Parquet files with the bytes inside are `parquet`
(image_column=jpg). Here URLs that failed are in the list too: each is a rejected row with img2dataset's status as the
reason, so that the counts of a run say what the download lost. The sha256 that img2dataset records is of the original,
not of the file it wrote, and is not used.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from negscale.core.config import Config, Location
from negscale.core.errors import ConfigError
from negscale.core.pipeline import Listing, Shard
from negscale.core.schema import CAPTION, REJECTION
from negscale.core.stage import set_column
from negscale.datasets.captions import MAX_CAPTION_WORDS, CaptionRows, fault, image_ref
from negscale.datasets.files import must_find_files, open_file
from negscale.datasets.images import ImageReader
from negscale.datasets.indexed import safe_name
from negscale.storage.folder import Entry, Folder, open_folder

_THREADS = 16
_STATUSES = ("failed_to_download", "failed_to_resize")
_SIZES = ("height", "width")


class Img2datasetConfig(Config):
    """What ``img2dataset --output_format=files`` wrote."""

    kind: Literal["img2dataset"] = "img2dataset"
    root: Location
    """Its output folder, or a URI."""
    files: str = "*.parquet"
    """Which lists, as a pattern of paths below root."""
    caption_column: str = "caption"
    """Column with the caption."""
    max_caption_words: int = Field(default=MAX_CAPTION_WORDS, ge=1)
    """Longer captions are quarantined."""
    shard_rows: int = Field(default=1000, ge=1)
    """Rows in a unit of work."""

    def build(self) -> Img2datasetSource:
        """The source."""
        return Img2datasetSource(self)

    def reader(self) -> ImageReader:
        """Reads the images that the rows refer to."""
        return ImageReader(self.root)


class Img2datasetSource:
    """Rows "00000/000000017": list and key."""

    schema = CAPTION

    def __init__(self, config: Img2datasetConfig) -> None:
        self.config = config

    def list(self) -> Listing:
        """Reads the footer of every list. Raises ConfigError naming a column that is missing."""
        folder = open_folder(self.config.root)
        files = must_find_files(folder, self.config.files)
        with ThreadPoolExecutor(_THREADS) as pool:
            counts = list(pool.map(lambda entry: self._count(folder, entry), files))
        shards = tuple(
            shard
            for number, (entry, count) in enumerate(zip(files, counts, strict=True))
            for shard in self._shards(number, entry.path, count)
        )
        facts = [[entry.path, entry.size_bytes, count] for entry, count in zip(files, counts, strict=True)]
        digest = sha256(json.dumps(facts).encode()).hexdigest()
        return Listing(shards, {"files": len(files), "names_sizes_rows_sha256": digest})

    def _count(self, folder: Folder, entry: Entry) -> int:
        try:
            with open_file(folder, entry.path, entry.size_bytes) as source, pq.ParquetFile(source) as file:
                rows, names = file.metadata.num_rows, file.schema_arrow.names
        except pa.ArrowInvalid:
            return -1  # img2dataset writes the list to its end: a killed download leaves one without a footer
        for name in ("key", "status", self.config.caption_column):
            if name not in names:
                raise ConfigError(
                    f"{entry.path} has no column {name!r}, so that it is no list of img2dataset with captions; its columns "
                    f"are {', '.join(names)}. Files with the images inside are read by source.kind=parquet, tars by "
                    f"source.kind=webdataset"
                )
        return rows

    def _shards(self, number: int, path: str, count: int) -> Iterator[Shard]:
        name = f"{number:05d}-{safe_name(path.removesuffix('.parquet'))}"
        if count < 0:
            yield Shard(f"{name}-broken", 1, json.dumps({"file": path, "start": -1, "stop": 0}))
        for start in range(0, count, self.config.shard_rows):
            stop = min(start + self.config.shard_rows, count)
            yield Shard(f"{name}-{start:09d}", stop - start, json.dumps({"file": path, "start": start, "stop": stop}))

    def read(self, shard: Shard, index: pa.Table | None) -> pa.Table:
        """The shard's rows, those without an image as rejections."""
        where: dict[str, Any] = json.loads(shard.where)
        path: str = where["file"]
        stem = path.removesuffix(".parquet")
        rows = CaptionRows(self.config.max_caption_words)
        if where["start"] < 0:
            message = f"{path} has no Parquet footer: the download of {stem}/ was cut; run img2dataset again for it"
            rows.add(f"{stem}/", None, None, image_id="", caption_id="", broken=fault("unreadable_file", message))
            return rows.table()
        folder = open_folder(self.config.root)
        with open_file(folder, path) as source, pq.ParquetFile(source) as file:
            sizes = [name for name in _SIZES if name in file.schema_arrow.names]
            table = file.read(columns=["key", "status", self.config.caption_column, *sizes], use_threads=False)
        images = _images(folder, stem)
        rejections: list[dict[str, str] | None] = []
        for item in table.slice(where["start"], where["stop"] - where["start"]).to_pylist():
            key, status = str(item["key"]), item["status"]
            failed = status != "success"
            reason = status if status in _STATUSES else "not_downloaded"
            rejections.append({"stage": "read", "reason": reason} if failed else None)
            uri = images.get(key)
            lost = None if failed or uri else fault("missing_image", f"{stem}/ has no image {key!r}, its list has")
            ref = image_ref(uri, **{f"{name}_px": item[name] for name in sizes}) if uri else None
            rows.add(f"{stem}/{key}", ref, item[self.config.caption_column], image_id=key, caption_id="0", broken=lost)
        result = rows.table()
        # a URL that failed is refused, whatever else is wrong with its caption
        refused = pa.array([r is not None for r in rejections], pa.bool_())
        faults = [
            None if no else f for no, f in zip(refused.to_pylist(), result["quarantine"].to_pylist(), strict=True)
        ]
        result = set_column(result, result.schema.field("quarantine"), faults)
        return set_column(result, pa.field("rejection", REJECTION), rejections)


def _images(folder: Folder, stem: str) -> dict[str, str]:
    """key -> path of its image; captions (.txt) and facts (.json) lie beside it."""
    found = {}
    for entry in folder.list(stem):
        key, _, extension = entry.path.rpartition("/")[2].rpartition(".")
        if extension not in ("txt", "json"):
            found[key] = entry.path
    return found
