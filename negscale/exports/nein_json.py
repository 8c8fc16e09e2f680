"""NeIn's files (Bui et al., arXiv 2409.06481; tanbuinhat/NeIn, generation_phase and filtering_phase), with the images.

``quintuplets``: a list of ``{COCO, T_original, T_negative, T_generated, NeIn}``, one an edit, as the filter writes it.
``generation``: one entry an image, the last four being lists, as the generator writes it. `COCO` names the source image,
`NeIn` the image with the object: ``NeIn_000000000009_1`` is edit 1 of ``COCO_000000000009``.

What differs: one file a split, the split being by image; edits are numbered 1, 2, ... among those that are kept, so that
number k is entry k of the lists (the released tools rely on it); images that are not COCO's are named by their id.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, TextIO, get_args

import pyarrow as pa

from negscale.core.errors import ConfigError
from negscale.core.image import ImageError
from negscale.exports.card import Layout, Tally, write_card
from negscale.exports.finished import ExportResult, FinishedRun, open_finished, require_columns
from negscale.exports.image_files import MissingImages, ReadsBytes, image_suffix, is_file, safe_key
from negscale.exports.parquet import flat_schema, flatten
from negscale.exports.publish import staged_folder
from negscale.language.instructions import object_added
from negscale.storage.run_folder import RunFolder

Form = Literal["quintuplets", "generation"]
KEYS = ("COCO", "T_original", "T_negative", "T_generated", "NeIn")
MADE = "image_with_object"
_NEEDS = ("id", "image", "image_id", "caption", "negative_instruction", "add_instruction")
_READERS = 8
_MEANING = {
    "COCO": "name of the source image, which lacks the object", "T_original": "caption of the source image",
    "T_negative": "sentence that denies the object", "T_generated": "instruction with which the object was added",
    "NeIn": "name of the image with the object",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Quintuplet:
    """One edit of a NeIn file."""

    source: str  # "COCO_000000000009"
    caption: str
    negative: str
    added: str  # "Add a dog."
    target: str  # "NeIn_000000000009_1"

    @property
    def object(self) -> str:
        """The object that was added. Raises ValueError when `added` is no such instruction."""
        return object_added(self.added)

    def entry(self) -> dict[str, str]:
        """As the file has it."""
        return dict(zip(KEYS, (self.source, self.caption, self.negative, self.added, self.target), strict=True))


def export_nein_json(
    run: RunFolder, out: str, reader: Callable[[str], ReadsBytes], form: str = "quintuplets",
    allow_over_budget: bool = False, license_id: str = "",
) -> ExportResult:  # fmt: skip
    """Write the kept rows to the folder `out` (a path or URI): SPLIT.json, images/, README.md, recipe.yaml.

    reader: gives for an image column what reads its bytes. Images with the object are written under their `NeIn` name;
    source images under their `COCO` name where they are no files of their own. form=generation also takes runs without
    edited images (nein_select). Rows whose image cannot be read are left out and listed; the result counts quintuplets.
    Raises ConfigError for an unknown form, PlanError for runs that are unfinished, over their quarantine budget (unless
    allowed), or without the columns.
    """
    if form not in get_args(Form):
        raise ConfigError(f"form {form!r} is unknown; known: {', '.join(get_args(Form))}")
    finished = open_finished(run, allow_over_budget)
    schema = finished.schema()
    need = _NEEDS if form == "generation" else (*_NEEDS, MADE)
    require_columns(schema, need, f"the nein-json export ({form})")
    columns = [name for name in (*_NEEDS, MADE, "split") if name in schema.names]
    with staged_folder(out) as folder:
        images = _Images(folder, reader, MADE in columns)
        files = _Files(folder)
        tally, flat = Tally(), flat_schema(schema)
        rows = 0
        for split, quintuplets in _edits(finished, columns, images, tally, flat):
            rows += len(quintuplets)
            files.write(split, form, quintuplets)
        files.close()
        shown = pa.schema([(key, pa.string()) for key in KEYS])
        write_card(folder, finished, shown, tally, license_id, _layout(form, rows, files, images))
        written = [path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".md", ".yaml")]
        size = sum(path.stat().st_size for path in written)
    return ExportResult(out, rows, len(written), size)


def read_nein_json(path: str | Path) -> list[Quintuplet]:
    """The edits of a NeIn file of either form, in order. Raises ConfigError for another kind of file."""
    try:
        entries = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ConfigError(f"{path}: no NeIn file: {error}") from error
    found = []
    for number, entry in enumerate(entries if isinstance(entries, list) else [entries]):
        if not isinstance(entry, dict) or set(entry) != set(KEYS):
            keys = sorted(entry) if isinstance(entry, dict) else type(entry).__name__
            raise ConfigError(f"{path}: entry {number} has {keys}; a NeIn file has {list(KEYS)}")
        lists = [entry[key] if isinstance(entry[key], list) else [entry[key]] for key in KEYS[1:]]
        edits = min(
            len(values) for values in lists
        )  # the released generator keeps every caption, also those without edit
        found += [Quintuplet(entry["COCO"], *(values[k] for values in lists)) for k in range(edits)]
    return found


def _edits(
    finished: FinishedRun, columns: Sequence[str], images: _Images, tally: Tally, flat: pa.Schema
) -> Iterator[tuple[str, list[Quintuplet]]]:
    """(split, the kept edits) of each image, in the order of the run."""
    taken: set[str] = set()
    for table in finished.tables():
        tally.add(flatten(table, flat))
        rows = table.select(list(columns)).to_pylist()
        for _, group in groupby(images.readable(rows), key=lambda pair: pair[0]["id"].rpartition("#")[0]):
            pairs = list(group)
            first = pairs[0][0]
            name = safe_key(first["image_id"])
            if name in taken:  # a source may name one image in several rows
                name = safe_key(first["id"].rpartition("#")[0])
            taken.add(name)
            images.write_source(f"COCO_{name}", first)
            edits = []
            for k, (row, data) in enumerate(pairs, 1):
                images.write_made(f"NeIn_{name}_{k}", data)
                edits.append(Quintuplet(
                    f"COCO_{name}", row["caption"], row["negative_instruction"], row["add_instruction"],
                    f"NeIn_{name}_{k}",
                ))  # fmt: skip
            yield first.get("split") or "train", edits


class _Images:
    """Reads the images that were made, by threads, and writes them under their names."""

    def __init__(self, folder: Path, reader: Callable[[str], ReadsBytes], with_made: bool) -> None:
        self._folder = folder / "images"
        self._made = reader(MADE) if with_made else None
        self._source = reader("image")
        self.missing = MissingImages(folder)
        self.written = 0

    def readable(self, rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], bytes]]:
        """The rows whose images can be had; others are listed as missing."""
        with ThreadPoolExecutor(_READERS) as pool:
            for row, (data, error) in zip(rows, pool.map(self._read, rows), strict=True):
                if error is not None:
                    self.missing.add(row["id"], row[MADE], error)
                else:
                    yield row, data

    def _read(self, row: Mapping[str, Any]) -> tuple[bytes, ImageError | None]:
        if self._made is None:
            return b"", None
        try:
            data = self._made.read_bytes(row[MADE] or {"uri": None})
            image_suffix(data)
            return data, None
        except ImageError as error:
            return b"", error

    def write_made(self, name: str, data: bytes) -> None:
        if data:
            self._write(name, data)

    def write_source(self, name: str, row: Mapping[str, Any]) -> None:
        """Only what no other program could open by name; an image that cannot be read is listed, its rows stay."""
        if self._made is None or is_file(row["image"]):
            return
        try:
            self._write(name, self._source.read_bytes(row["image"] or {"uri": None}))
        except ImageError as error:
            self.missing.add(row["id"], row["image"], error)

    def _write(self, name: str, data: bytes) -> None:
        self._folder.mkdir(exist_ok=True)
        (self._folder / f"{name}.{image_suffix(data)}").write_bytes(data)
        self.written += 1


class _Files:
    """One JSON array a split, laid out as ``json.dump(..., indent=4)`` does."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[str, TextIO] = {}
        self.entries: dict[str, int] = {}

    def write(self, split: str, form: str, edits: Sequence[Quintuplet]) -> None:
        """Append the edits of one image."""
        if form == "generation":
            lists = {key: [edit.entry()[key] for edit in edits] for key in KEYS[1:]}
            entries: list[Any] = [{"COCO": edits[0].source, **lists}]
        else:
            entries = [edit.entry() for edit in edits]
        for entry in entries:
            self._append(split, textwrap.indent(json.dumps(entry, indent=4), "    "))

    def _append(self, split: str, text: str) -> None:
        if split not in self._open:
            self._open[split] = (self._folder / f"{safe_key(split)}.json").open("w", encoding="utf-8")
            self._open[split].write("[")
            self.entries[split] = 0
        self._open[split].write((",\n" if self.entries[split] else "\n") + text)
        self.entries[split] += 1

    def close(self) -> None:
        """End the arrays; an export without rows has an empty one."""
        if not self._open:
            (self._folder / "train.json").write_text("[]\n", encoding="utf-8")
        for file in self._open.values():
            file.write("\n]\n")
            file.close()


def _layout(form: str, rows: int, files: _Files, images: _Images) -> Layout:
    shown = ", ".join(f"`{safe_key(s)}.json` {n:,}" for s, n in sorted(files.entries.items())) or "`train.json` 0"
    notes = [f"{rows:,} edits in the {form} form; entries: {shown}.", *images.missing.notes()]
    if not images.written:
        notes.append("No images are in this folder: the run has none with the object (it chose objects only).")
    return Layout(
        data_files="*.json", meanings=_MEANING, notes=notes,
        how_to_read='```python\nimport json\nedits = json.load(open("train.json"))\n```',
        images=(
            "`images/` holds the images with the object, by their `NeIn` name, and those source images that are no files of "
            "their own, by their `COCO` name; other source images are the source's files."
        ),
    )  # fmt: skip
