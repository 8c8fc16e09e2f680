"""RefCOCO, RefCOCO+ and RefCOCOg: one row per expression, with every annotated object of its image.

The released layout (Kazemzadeh et al. 2014; Mao et al. 2016) is ``instances.json`` in COCO's form and a pickle
``refs(umd).p`` with the expressions. A pickle can run code when it is read, so it is never opened here: the same list as
JSON or Parquet is read instead (`SAFELY` says how to make it). Boxes and file names come from ``instances.json``: the
``file_name`` of a ref has the annotation's number appended and names no file.
"""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from negscale.core.boxes import as_box
from negscale.core.config import Config, Location, Locations
from negscale.core.errors import ConfigError
from negscale.core.pipeline import Listing, Shard
from negscale.core.schema import EXPRESSION
from negscale.datasets.captions import fault, image_ref, storable
from negscale.datasets.coco import parse_coco
from negscale.datasets.expressions import ExpressionRows, instance
from negscale.datasets.images import ImageReader
from negscale.datasets.indexed import indexed_listing, read_config_file, slice_of_index
from negscale.storage.folder import open_folder

REF_KEYS = ("ref_id", "ann_id", "image_id", "split", "sentences")
SAFELY = (
    "A pickle can run code when it is read: convert it once where nothing can be harmed, e.g. docker run --rm --network "
    "none -v \"$PWD\":/d python:3.11 python -c \"import json, pickle; json.dump(pickle.load(open('/d/refs(umd).p', 'rb'), "
    "encoding='latin1'), open('/d/refs_umd.json', 'w'))\"; or take a Parquet mirror with the columns "
    + ", ".join(REF_KEYS)
)


class RefcocoConfig(Config):
    """RefCOCO's layout, its refs as JSON or Parquet."""

    kind: Literal["refcoco"] = "refcoco"
    root: Location
    """Folder or URI that holds the refs, instances.json and the images."""
    refs: Location = "refs_umd.json"
    """The refs: a .json list or a .parquet table of {ref_id, ann_id, image_id, split, sentences: [{sent_id, sent}]}."""
    instances: Location = "instances.json"
    """Boxes and categories in COCO's layout."""
    image_folder: Location = "train2014"
    """Image folder below root."""
    image_roots: Locations = ()
    """Further folders in which absolute file names may lie."""
    image_names: Literal["2014", "2017"] = "2014"
    """`2017` drops COCO_train2014_ from the names: the files of COCO's later splits."""
    splits: tuple[str, ...] = ()
    """Only refs of these splits, e.g. [val, test]; empty = all."""
    shard_rows: int = Field(default=512, ge=1)
    """Expressions in a unit of work."""

    def build(self) -> RefcocoSource:
        """The source."""
        return RefcocoSource(self)

    def reader(self) -> ImageReader:
        """Reads the images that the rows refer to."""
        return ImageReader(self.root, self.image_roots)


class RefcocoSource:
    """Rows named by sentence id, in the order of the refs."""

    schema = EXPRESSION

    def __init__(self, config: RefcocoConfig) -> None:
        self.config = config

    def list(self) -> Listing:
        """Parses both files once; the rows are the index. Raises ConfigError for pickles and other layouts."""
        config = self.config
        folder = open_folder(config.root)
        if config.refs.endswith((".p", ".pkl", ".pickle")):
            raise ConfigError(f"source.refs: {config.refs} is a pickle. {SAFELY}")
        refs = read_config_file(folder, config.refs, "source.refs")
        instances = read_config_file(folder, config.instances, "source.instances")
        content = parse_coco(instances, config.instances, ("images", "annotations", "categories"))
        rows, other_splits = expression_rows(parse_refs(refs, config.refs), content, config)
        identity = {
            "refs_sha256": sha256(refs).hexdigest(), "instances_sha256": sha256(instances).hexdigest(),
            "expressions_of_other_splits": other_splits,
        }  # fmt: skip
        return indexed_listing("refcoco", rows, config.shard_rows, identity)

    def read(self, shard: Shard, index: pa.Table | None) -> pa.Table:
        """The shard's slice of the index."""
        return slice_of_index(shard, index)


def parse_refs(data: bytes, name: str) -> list[Any]:
    """The refs of a JSON list or a Parquet table. Raises ConfigError, with what to do, for anything else."""
    if data[:1] == b"\x80":
        raise ConfigError(f"source.refs: {name} is a pickle, whatever its name. {SAFELY}")
    if data[:4] == b"PAR1":
        try:
            file = pq.ParquetFile(io.BytesIO(data))
        except pa.ArrowInvalid as error:
            raise ConfigError(f"source.refs: {name} is no whole Parquet file: {error}") from None
        if missing := [key for key in REF_KEYS if key not in file.schema_arrow.names]:
            raise ConfigError(
                f"source.refs: {name} has no column {missing[0]!r}; needed are {', '.join(REF_KEYS)}, found "
                f"{', '.join(file.schema_arrow.names)}"
            )
        return file.read([key for key in (*REF_KEYS, "category_id") if key in file.schema_arrow.names]).to_pylist()
    try:
        refs = json.loads(data.decode("utf-8-sig", "surrogateescape"), strict=False)
    except json.JSONDecodeError as error:
        raise ConfigError(f"source.refs: {name} is neither JSON nor Parquet: {error}. {SAFELY}") from None
    if not isinstance(refs, list) or not any(isinstance(ref, dict) and "sentences" in ref for ref in refs):
        shown = f"a list of {len(refs)}" if isinstance(refs, list) else type(refs).__name__
        raise ConfigError(f"source.refs: {name} holds {shown}; expected a list of refs with the keys {REF_KEYS}")
    return refs


def expression_rows(refs: list[Any], content: Mapping[str, Any], config: RefcocoConfig) -> tuple[pa.Table, int]:
    """(rows, number of expressions in splits that were not asked for). A bad ref gives a quarantined row."""
    images = {entry["id"]: entry for entry in _dicts(content["images"]) if _named(entry.get("id"))}
    objects, problems = _objects(content)
    rows, other_splits, splits = ExpressionRows(), 0, Counter[str]()
    for number, ref in enumerate(refs):
        if not _is_ref(ref):
            rows.add(
                f"ref-{number}", None, "", image_id="", expression_id="", referred_id="", instances=[],
                broken=fault("schema", f"ref number {number} lacks ann_id, image_id or sentences: {str(ref)[:200]}"),
            )  # fmt: skip
            continue
        splits[str(ref.get("split"))] += len(ref["sentences"])
        if config.splits and ref.get("split") not in config.splits:
            other_splits += len(ref["sentences"])
            continue
        entry = images.get(ref.get("image_id")) or {}
        here = objects.get(ref.get("image_id"), [])
        broken = _problem(ref, entry, problems.get(ref.get("ann_id"), ""), here)
        image = None
        if isinstance(entry.get("file_name"), str):
            name = entry["file_name"]
            if config.image_names == "2017":
                name = re.sub(r"^COCO_\w+?2014_", "", name)
            uri = f"{config.image_folder.strip('/')}/{name}".lstrip("/")
            image = image_ref(uri, height_px=_size(entry.get("height")), width_px=_size(entry.get("width")))
        for place, sentence in enumerate(ref["sentences"]):
            text, sent_id = _sentence(sentence)
            rows.add(
                str(sent_id) if sent_id is not None else f"ref-{number}-{place}", image, text,
                image_id=str(ref.get("image_id")), expression_id=str(sent_id), referred_id=str(ref.get("ann_id")),
                instances=here,
                broken=broken or (fault("schema", f"no sent_id: {str(sentence)[:200]}") if sent_id is None else None),
            )  # fmt: skip
    if config.splits and other_splits == sum(splits.values()):
        raise ConfigError(f"source.splits={list(config.splits)}: no such split; there are {dict(splits)}")
    return rows.table(), other_splits


def _objects(content: Mapping[str, Any]) -> tuple[dict[Any, list[dict[str, Any]]], dict[Any, str]]:
    """Objects by image, and what is wrong with annotations that cannot be objects."""
    names = {e["id"]: storable(str(e.get("name"))) for e in _dicts(content["categories"]) if _named(e.get("id"))}
    objects: dict[Any, list[dict[str, Any]]] = {}
    problems: dict[Any, str] = {}
    for note in _dicts(content["annotations"]):
        if not all(_named(note.get(key)) for key in ("id", "image_id", "category_id")):
            continue  # a ref that means it is quarantined: its annotation is not there
        box, category = as_box(note.get("bbox")), names.get(note.get("category_id"))
        if box is None or category is None:
            problems[note.get("id")] = f"bbox {note.get('bbox')!r}, category_id {note.get('category_id')!r}"
            continue
        one = instance(str(note.get("id")), category, box, bool(note.get("iscrowd")))
        objects.setdefault(note.get("image_id"), []).append(one)
    return objects, problems


def _problem(
    ref: Mapping[str, Any], entry: Mapping[str, Any], wrong: str, here: list[dict[str, Any]]
) -> dict[str, Any] | None:
    if not isinstance(entry.get("file_name"), str):
        return fault("missing_image_entry", f"image_id {ref.get('image_id')!r} is not in the list 'images'")
    if wrong:
        return fault("bad_annotation", f"annotation {ref.get('ann_id')!r} is unusable: {wrong}")
    if not any(one["id"] == str(ref.get("ann_id")) for one in here):
        return fault("missing_annotation", f"ann_id {ref.get('ann_id')!r} is not annotated in its image")
    return None


def _sentence(sentence: Any) -> tuple[str | None, Any]:
    """(text, id): the cleaned text as all published figures use it, the raw one where it is missing."""
    if not isinstance(sentence, dict):
        return None, None
    text = sentence.get("sent") or sentence.get("raw")
    return (text if isinstance(text, str) else None), sentence.get("sent_id")


def _is_ref(ref: Any) -> bool:
    return (
        isinstance(ref, dict) and _named(ref.get("ann_id")) and _named(ref.get("image_id"))
        and isinstance(ref.get("sentences"), list) and bool(ref["sentences"])
    )  # fmt: skip


def _named(value: Any) -> bool:
    """Whether it can be an id: a list or null in a hand-made file cannot."""
    return isinstance(value, (int, str))


def _dicts(values: list[Any]) -> Iterator[dict[str, Any]]:
    return (value for value in values if isinstance(value, dict))


def _size(value: Any) -> int | None:
    return value if isinstance(value, int) and 0 < value < 2**31 else None
