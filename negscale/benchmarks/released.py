"""A benchmark as a released file: what its items are, how a dual encoder is scored on them, what is known to be wrong with it.

A file is read into one table, an item a row (`ITEM`), whatever the benchmark. Few tasks cover them all: choose a text,
choose a region, retrieve, tell two images and two texts apart, classify, and probe (classify by many attributes). The
released evaluators each read, encode and score in one script; here reading knows no model, encoding no benchmark
(`negscale.benchmarks.encoding`), scoring neither.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from negscale.core.errors import ConfigError
from negscale.questions.table import Questions
from negscale.storage.folder import open_folder

Task = Literal["choose_text", "choose_region", "retrieve", "two_by_two", "classify", "probe"]
ITEM = pa.schema([
    ("id", pa.string()),
    ("images", pa.list_(pa.string())),  # one, two of a 2 x 2 group, none of a class; references, not yet found on a disk
    ("boxes_xywh_px", pa.list_(pa.list_(pa.float64()))),  # candidates of choose_region; null elsewhere
    ("texts", pa.list_(pa.string())),  # options, the expression, the captions of an image, or the two captions of a group
    ("answer", pa.int16()),  # index of the right text or box; null where the task has none
    ("type", pa.string()), ("group", pa.string()),  # "" where the file has none
])  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reading:
    """Items of one or more files, and what was noticed on the way ("duplicated rows": 1); nothing was dropped."""

    items: pa.Table
    notes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ReleasedBenchmark:
    """One benchmark. `read` takes (path, text of the file) and gives one mapping of `ITEM`'s columns but "id" an item."""

    name: str  # "negbench/mcq-coco"
    summary: str
    task: Task
    files: tuple[str, ...]  # names below a data root, as patterns; the first that match are read, all that match it
    images: str  # which images it needs, e.g. "COCO val2017"
    get: str  # how to get file and images
    read: Callable[[str, str], Iterable[Mapping[str, Any]]]
    faults: tuple[str, ...] = ()  # known faults of the released file or its scorer, for the report
    version: int = 1  # bump when items or scores change their meaning
    released_tie: Literal["first", "lose"] = "first"  # what the released scorer does with equal scores of two texts
    several: bool = False  # made of several files, all of which are read
    binary: bool = False  # the file is not text: `read` opens it itself
    paper: str = ""  # citation; "" of our own sets

    def items(self, *paths: str) -> Reading:
        """The items of the files, in their order. Raises ConfigError for files of another shape, naming file and place."""
        if not paths:
            raise ConfigError(f"{self.name}: name one or more files ({', '.join(self.files)})")
        found: list[dict[str, Any]] = []
        for path in paths:
            stem = path.rpartition("/")[2].rpartition(".")[0]
            rows = self.read(path, "" if self.binary else read_text(path))
            for number, row in enumerate(rows):
                whole = {"boxes_xywh_px": None, "answer": None, "type": "", "group": "", **row}
                found.append({"id": f"{stem}/{number:06d}", **whole})
        if not found:
            raise ConfigError(f"{self.name}: no items in {', '.join(paths)}")
        return Reading(pa.Table.from_pylist(found, ITEM), _notes(found))


def _notes(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    def key(row: Mapping[str, Any]) -> str:
        return repr([row[name] for name in ("images", "boxes_xywh_px", "texts", "answer")])

    seen = Counter(key(row) for row in rows)
    notes = {
        "duplicated rows": sum(count - 1 for count in seen.values()),
        "blank texts": sum(not text.strip() for row in rows for text in row["texts"]),
    }
    return {name: count for name, count in notes.items() if count}


def choice_rows(questions: Questions, types: Sequence[str] = ()) -> Iterable[dict[str, Any]]:
    """Questions as items of choose_text. types: used instead of the questions' own."""
    for at, options in enumerate(questions.options):
        yield {
            "images": [questions.images[at]], "texts": list(options), "answer": questions.answers[at],
            "type": types[at] if types else questions.types[at],
            "group": questions.groups[at] if questions.groups else "",
        }  # fmt: skip


def questions_of(name: str, items: pa.Table) -> Questions:
    """Items of choose_text as questions, for solvers that never see an image."""
    columns = {column: items[column].to_pylist() for column in ("images", "texts", "answer", "type", "group")}
    grouped = tuple(columns["group"]) if any(columns["group"]) else None
    return Questions(
        name, tuple(images[0] for images in columns["images"]), tuple(map(tuple, columns["texts"])),
        tuple(columns["answer"]), tuple(columns["type"]), grouped,
    )  # fmt: skip


def read_text(path: str) -> str:
    """The text of a file at a path or URI. Raises ConfigError where there is none, or where it is not UTF-8."""
    folder, _, file = path.rpartition("/")
    try:
        data = open_folder(folder or ("/" if path.startswith("/") else ".")).read(file)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise ConfigError(f"there is no file {path}") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8: byte {data[error.start]:#04x} at {error.start}") from None
