"""COCO captions: one row per caption, in the images' order, all captions of an image adjacent.

NegationCLIP's P1 (arXiv 2501.10913, section 3) walks COCO in this way, but shows its stages one caption at a time; here
each row carries every caption of its image. An image that is listed but missing on disk keeps its rows: the stage that
reads pixels quarantines them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Literal

import pyarrow as pa
from pydantic import Field

from negscale.core.config import Config, Location, Locations
from negscale.core.errors import ConfigError
from negscale.core.pipeline import Listing, Shard
from negscale.core.schema import CAPTION
from negscale.datasets.captions import MAX_CAPTION_WORDS, CaptionRows, clean_caption, fault, image_ref
from negscale.datasets.images import ImageReader
from negscale.datasets.indexed import indexed_listing, read_config_file, slice_of_index
from negscale.storage.folder import Folder, open_folder


class CocoConfig(Config):
    """COCO's layout: annotations/captions_{split}.json and {split}/ with the images."""

    kind: Literal["coco"] = "coco"
    root: Location
    """Folder or URI that holds annotations/ and the image folders."""
    split: str = "train2017"
    """Names the annotation file and the image folder."""
    captions: Location = ""
    """Captions file instead of annotations/captions_{split}.json; relative to root, or absolute."""
    image_folder: Location = ""
    """Image folder below root instead of {split}."""
    image_roots: Locations = ()
    """Further folders in which absolute file names may lie."""
    limit_images: int | None = Field(default=None, ge=1)
    """Only the first so many images that have captions."""
    captions_per_image: int | None = Field(default=None, ge=1)
    """Rows an image: its first so many captions (1 for one row an image); None = all. `image_captions` has them all."""
    max_caption_words: int = Field(default=MAX_CAPTION_WORDS, ge=1)
    """Longer captions are quarantined."""
    shard_rows: int = Field(default=512, ge=1)
    """Captions in a unit of work."""

    def build(self) -> CocoSource:
        """The source."""
        return CocoSource(self)

    def reader(self) -> ImageReader:
        """Reads the images that the rows refer to."""
        return ImageReader(self.root, self.image_roots)


class CocoSource:
    """Rows "000000391895-770337": image id, caption id."""

    schema = CAPTION

    def __init__(self, config: CocoConfig) -> None:
        self.config = config

    def list(self) -> Listing:
        """Parses the JSON once; its rows are the index. Raises ConfigError naming the splits that exist."""
        config = self.config
        folder = open_folder(config.root)
        path = config.captions or f"annotations/captions_{config.split}.json"
        data = read_config_file(
            folder, path, "source.split" if not config.captions else "source.captions", _splits(folder)
        )
        content = parse_coco(data, path)
        rows, without = coco_rows(content, config)
        identity = {
            "captions_sha256": sha256(data).hexdigest(),
            "split": config.split,
            "images_without_captions": without,
        }
        return indexed_listing(f"coco-{config.split}", rows, config.shard_rows, identity)

    def read(self, shard: Shard, index: pa.Table | None) -> pa.Table:
        """The shard's slice of the index."""
        return slice_of_index(shard, index)


def _splits(folder: Folder) -> str:
    names = [entry.path.rpartition("/")[2] for entry in folder.list("annotations")]
    splits = sorted(found[1] for name in names if (found := re.fullmatch(r"captions_(.+)\.json", name)))
    return f"; splits there: {', '.join(splits)}" if splits else f"; annotations/ holds {sorted(names) or 'nothing'}"


def parse_coco(data: bytes, name: str, needs: Sequence[str] = ("images", "annotations")) -> dict[str, Any]:
    """The lists of a COCO JSON. Bytes that are not UTF-8 survive as surrogates, to be found in their row."""
    try:
        content = json.loads(data.decode("utf-8-sig", "surrogateescape"), strict=False)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{name}: not JSON: {error}; {len(data)} bytes, cut off while downloading?") from None
    found = content if isinstance(content, dict) else {}
    if missing := [key for key in needs if not isinstance(found.get(key), list)]:
        keys = sorted(found) or type(content).__name__
        raise ConfigError(f"{name}: no list {missing[0]!r}, so not a COCO annotation file; it holds {keys}")
    return found


def coco_rows(content: Mapping[str, Any], config: CocoConfig) -> tuple[pa.Table, int]:
    """(rows in the images' order, number of images without captions) of a parsed captions file."""
    annotations: list[Any] = content["annotations"]
    if annotations and not any(isinstance(note, dict) and "caption" in note for note in annotations):
        first = sorted(annotations[0]) if isinstance(annotations[0], dict) else annotations[0]
        raise ConfigError(f"the annotations have no 'caption' (the first holds {first}): is this an instances file?")
    images: dict[Any, Mapping[str, Any]] = {}
    for entry in content["images"]:
        if isinstance(entry, dict) and _hashable(entry.get("id")):
            images.setdefault(entry["id"], entry)
    notes: dict[Any, list[tuple[int, Mapping[str, Any]]]] = {}
    stray: list[tuple[int, Any]] = []
    for number, note in enumerate(annotations):
        if isinstance(note, dict) and _hashable(note.get("image_id")) and _hashable(note.get("id")):
            notes.setdefault(note["image_id"], []).append((number, note))
        else:
            stray.append((number, note))
    rows = CaptionRows(config.max_caption_words)
    listed = [image_id for image_id in images if image_id in notes]
    for image_id in [*listed[: config.limit_images], *(i for i in notes if i not in images)]:
        _add_image(rows, image_id, images.get(image_id), notes[image_id], config)
    for number, note in stray:
        problem = fault("schema", f"annotation number {number} needs 'id', 'image_id' and 'caption': {str(note)[:200]}")
        rows.add(f"annotation-{number:09d}", None, _caption(note), image_id="", caption_id="", broken=problem)
    return rows.table(), len(images) - len(listed)


def _add_image(
    rows: CaptionRows,
    image_id: Any,
    entry: Mapping[str, Any] | None,
    notes: Sequence[tuple[int, Mapping[str, Any]]],
    config: CocoConfig,
) -> None:
    name = f"{image_id:012d}" if isinstance(image_id, int) else str(image_id)
    ref, missing = None, None
    file_name = entry.get("file_name") if entry is not None else None
    if entry is None:
        missing = fault("missing_image_entry", f"image_id {image_id!r} is not in the list 'images'")
    elif not isinstance(file_name, str) or not file_name:
        missing = fault("missing_image_entry", f"image {image_id!r} has no 'file_name'")
    else:
        uri = f"{config.image_folder.strip('/') or config.split}/{file_name}"
        ref = image_ref(uri, height_px=_size(entry.get("height")), width_px=_size(entry.get("width")))
    cleaned = [clean_caption(_caption(note), config.max_caption_words) for _, note in notes]
    said = tuple(dict.fromkeys(text for text, _ in cleaned if text))  # annotators repeat each other; once is enough
    wanted = slice(config.captions_per_image)
    for (number, note), (text, problem) in zip(notes[wanted], cleaned[wanted], strict=True):
        if not isinstance(note.get("caption"), str):
            problem = fault("schema", f"annotation number {number} has no text in 'caption': {str(note)[:200]}")
        rows.add_clean(
            f"{name}-{note['id']}", ref, text, missing or problem,
            image_id=name, caption_id=str(note["id"]), said=said,
        )  # fmt: skip


def _caption(note: Any) -> str | None:
    text = note.get("caption") if isinstance(note, dict) else None
    return text if isinstance(text, str) else None


def _hashable(value: Any) -> bool:
    return isinstance(value, (int, str))


def _size(value: Any) -> int | None:
    return value if isinstance(value, int) and 0 < value < 2**31 else None
