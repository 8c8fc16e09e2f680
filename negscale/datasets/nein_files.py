"""NeIn as it was released (Bui et al., arXiv 2409.06481; tanbuinhat/NeIn): a JSON of quintuplets and the images beside it.

An entry is ``{COCO, T_original, T_negative, T_generated, NeIn}``; the last four are strings, as the filter writes them, or lists,
as the generator does. `NeIn` names the image with the object, `COCO` the source image: a file of that name, or COCO's own,
since the release drops the split from ``COCO_train2014_000000000009``. The object is what follows "Add a". What
differs: a name that comes twice and an image that is not there give quarantined rows; the released scripts stop, or count
a missing image as a failure of the editor.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any, Literal

import pyarrow as pa
from pydantic import Field

from negscale.core.config import Config, Location, Locations
from negscale.core.errors import ConfigError
from negscale.core.pipeline import Listing, Shard
from negscale.core.schema import ENVELOPE, IMAGE
from negscale.datasets.captions import fault, image_ref, storable
from negscale.datasets.folder import IMAGE_SUFFIXES
from negscale.datasets.images import ImageReader
from negscale.datasets.indexed import indexed_listing, read_config_file, slice_of_index
from negscale.storage.folder import Folder, open_folder

KEYS = ("COCO", "T_original", "T_negative", "T_generated", "NeIn")
SCHEMA = pa.schema([
    ("image", IMAGE), ("image_id", pa.string()), ("caption", pa.string()), ("absent_object", pa.string()),
    ("split", pa.string()), ("add_instruction", pa.string()), ("negative_instruction", pa.string()),
    ("image_with_object", IMAGE),
])  # fmt: skip
_ROWS = pa.schema([*ENVELOPE, *SCHEMA])
_ADDED = re.compile(r"\s*Add (?:an?|some) (?P<object>\S.*?)\s*\.?\s*", re.DOTALL)
_COCO = re.compile(r"(?:COCO_)?(?:(?:train|val|test)2014_)?(?P<number>\d{12})")


class NeinFilesConfig(Config):
    """The released files, or a nein-json export of ours."""

    kind: Literal["nein_json"] = "nein_json"
    root: Location
    """Folder or URI with the JSON file and the images with the object; they may lie in folders of it."""
    annotations: Location = "eval.json"
    """The JSON file, relative to root or absolute."""
    source_root: Location = ""
    """Folder of the source images, e.g. that of COCO 2014; empty = root."""
    image_roots: Locations = ()
    """Further folders in which absolute image names may lie."""
    split: Literal["train", "eval"] = "eval"
    """Which split the file is."""
    shard_rows: int = Field(default=256, ge=1)
    """Edits in a unit of work."""

    def build(self) -> NeinFilesSource:
        """The source."""
        return NeinFilesSource(self)

    def reader(self) -> ImageReader:
        """Reads the source images."""
        return ImageReader(self.source_root or self.root, self.image_roots)

    @property
    def edited_root(self) -> str:
        """What `image_with_object` is relative to."""
        return self.root


class NeinFilesSource:
    """Rows named as their image with the object, e.g. "NeIn_000000000009_1", in the order of the file."""

    schema = SCHEMA

    def __init__(self, config: NeinFilesConfig) -> None:
        self.config = config

    def list(self) -> Listing:
        """Reads the JSON and lists the images once; the rows are the index. Raises ConfigError for another kind of file."""
        config = self.config
        folder = open_folder(config.root)
        data = read_config_file(folder, config.annotations, "source.annotations")
        made = _stems(folder)
        sources = _stems(open_folder(config.source_root)) if config.source_root else made
        rows = _rows(
            _entries(data, config.annotations), made, {_coco(stem): path for stem, path in sources.items()}, config
        )
        identity = {"annotations_sha256": sha256(data).hexdigest()}
        return indexed_listing("nein", rows, config.shard_rows, identity)

    def read(self, shard: Shard, index: pa.Table | None) -> pa.Table:
        """The shard's slice of the index."""
        return slice_of_index(shard, index)


def _stems(folder: Folder) -> dict[str, str]:
    """Name without suffix -> path, of every image below `folder`; of two of one name the first by path."""
    paths = sorted(entry.path for entry in folder.walk() if entry.path.lower().endswith(IMAGE_SUFFIXES))
    return {path.rpartition("/")[2].rpartition(".")[0]: path for path in reversed(paths)}


def _coco(name: str) -> str:
    """One spelling for COCO_000000000009, COCO_train2014_000000000009 and 000000000009; other names as they are."""
    found = _COCO.fullmatch(name)
    return f"COCO_{found['number']}" if found else name


def _entries(data: bytes, name: str) -> Iterator[dict[str, Any]]:
    try:
        entries = json.loads(data.decode("utf-8-sig", "surrogateescape"))
    except json.JSONDecodeError as error:
        raise ConfigError(f"source.annotations: {name} is no JSON: {error}") from None
    if not isinstance(entries, list) or not entries:
        raise ConfigError(f"source.annotations: {name} holds {type(entries).__name__}; expected a list of {list(KEYS)}")
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict) or not entry.keys() >= set(KEYS):
            shown = sorted(entry) if isinstance(entry, dict) else type(entry).__name__
            raise ConfigError(f"source.annotations: entry {number} of {name} has {shown}; a NeIn file has {list(KEYS)}")
        yield entry


def _edits(entry: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """(caption, denial, "Add a ...", image name) of each edit of an entry of either form."""
    lists = [entry[key] if isinstance(entry[key], list) else [entry[key]] for key in KEYS[1:]]
    # the released generator keeps every caption, also those without an edit
    yield from zip(*lists, strict=False)


def _rows(
    entries: Iterator[dict[str, Any]], made: Mapping[str, str], sources: Mapping[str, str], config: NeinFilesConfig
) -> pa.Table:
    found: list[dict[str, Any]] = []
    seen: dict[str, int] = {}
    for entry in entries:
        image_id = str(entry["COCO"])
        source = sources.get(_coco(image_id))
        for caption, negative, added, target in _edits(entry):
            texts = [storable(str(text)) for text in (caption, negative, added, target)]
            name, problem = texts[3], _problem(texts, image_id, source, made)
            seen[name] = seen.get(name, 0) + 1
            if seen[name] > 1:
                problem = problem or fault(
                    "duplicate_id", f"{name!r} occurred before; this copy is number {seen[name]}"
                )
                name = f"{name}~{seen[name]}"
            object_added = _ADDED.fullmatch(texts[2])
            found.append({
                "id": name, "rejection": None, "quarantine": problem, "image": image_ref(source), "image_id": storable(image_id),
                "caption": texts[0], "absent_object": object_added and object_added["object"], "split": config.split,
                "add_instruction": texts[2], "negative_instruction": texts[1], "image_with_object": image_ref(made.get(texts[3])),
            })  # fmt: skip
    return pa.Table.from_pylist(found, schema=_ROWS)


def _problem(texts: list[str], image_id: str, source: str | None, made: Mapping[str, str]) -> dict[str, Any] | None:
    _, negative, added, target = texts
    if _ADDED.fullmatch(added) is None:
        return fault("schema", f"T_generated is {added!r}; expected 'Add a ...', from which the object is read")
    if not negative.strip():
        return fault("schema", f"T_negative of {target!r} is empty")
    if source is None:
        return fault(
            "missing_image", f"no image is called {image_id!r} (with or without COCO's split) below source_root"
        )
    if target not in made:
        return fault("missing_image", f"no image is called {target!r} below root")
    return None
