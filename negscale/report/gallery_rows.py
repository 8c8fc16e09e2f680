"""What a card of the gallery says of a row: figures, texts with the changed words marked, verdicts, scores, the rest.

A card is JSON with one-letter keys, since a page holds up to 10,000 of them; gallery.js reads the same keys. Labels and
names of columns are numbers into one table of the page.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from negscale.core.schema import ENVELOPE, IMAGE
from negscale.report.gallery_sample import DrawnRow, Fate
from negscale.review.diff import word_diff

MAX_TEXT = 2000  # characters of one text on a card
_MANY = 32  # numbers: features of an image, which nobody reads
MAX_DETAIL = 400  # characters of a value among the other columns

QUERY = "edit_query"  # a struct: one instruction of an evaluation
# what a text is to the reader, by column; the first that a row has is its headline
MAIN_TEXTS = (QUERY, "negative_instruction", "negated_caption", "question", "expression", "caption", "captions", "url")
_LABELS = {
    "negative_instruction": "negative instruction", "negated_caption": "negated caption", "add_instruction": "edit asked for",
    "expression": "referring expression", "image_path": "image",
}  # fmt: skip
_TEXTS = ("caption", "add_instruction")  # beside the headline, in this order
_OBJECTS = ("absent_object", "finding", "denied")
_OBJECT_LISTS = ("negative_objects",)
HEAT = "difference"
_PARTS = {  # (before, after) of runs of edits -> what each image is; the first pair that a run has counts
    ("image_with_object", "edited_image"): {"image": "wanted", "image_with_object": "input", "edited_image": "edit"},
    ("image", "image_with_object"): {"image": "source", "image_with_object": "edit"},
}


@dataclass(slots=True)
class Names:
    """Texts that occur on many cards, each with a number."""

    texts: list[str] = field(default_factory=list)
    _numbers: dict[str, int] = field(default_factory=dict)

    def number(self, text: str) -> int:
        """The number of `text`, a new one for a new text."""
        if text not in self._numbers:
            self._numbers[text] = len(self.texts)
            self.texts.append(text)
        return self._numbers[text]


@dataclass(frozen=True, slots=True)
class Layout:
    """Which columns of a run a card shows, and as what."""

    images: tuple[str, ...]  # IMAGE columns; `image_path` (text) where there is none
    pair: tuple[str, str] | None  # image columns whose difference is drawn: (before, after)
    scores: tuple[str, ...]
    verdicts: tuple[str, ...]  # columns of booleans
    details: tuple[str, ...]
    kind: str  # edits, questions or captions

    def figure_label(self, column: str) -> str:
        """What the reader calls an image column; in runs of edits by its part in the edit."""
        return _PARTS.get(self.pair, {}).get(column, label_of(column)) if self.pair else label_of(column)


def layout_of(schema: pa.Schema) -> Layout:
    """The layout of cards for rows of `schema`."""
    names = set(schema.names)
    images = tuple(f.name for f in schema if f.type == IMAGE) or tuple(n for n in ("image_path",) if n in names)
    pair = next((pair for pair in _PARTS if names.issuperset(pair)), None)
    scores = tuple(f.name for f in schema if pa.types.is_floating(f.type))
    verdicts = tuple(f.name for f in schema if pa.types.is_boolean(f.type))
    shown = {*ENVELOPE.names, *images, *scores, *verdicts, "options", "answer", *_OBJECTS}
    details = tuple(name for name in schema.names if name not in shown)
    kind = "edits" if pair else "questions" if "options" in names else "captions"
    return Layout(images, pair, scores, verdicts, details, kind)


def card(drawn: DrawnRow, layout: Layout, fates: Mapping[Fate, int], names: Names) -> dict[str, Any]:
    """The card of a row without its figures. fates: number of each fate in the page's table.

    Keys: i id, f fate, m message of what broke, t texts [label, segments], q options, a the right one, o objects, s scores in
    the layout's order, v verdicts [name, value], d details [name, text]. Segments are plain text and marked text in turn.
    """
    row = drawn.row
    made: dict[str, Any] = {"i": row["id"], "f": fates[drawn.fate]}
    if row["quarantine"]:
        made["m"] = clip(row["quarantine"]["message"] or "", MAX_DETAIL)
    texts, used = _texts(row, names)
    if texts:
        made["t"] = texts
    if row.get("options"):
        made["q"] = [clip(str(option), MAX_TEXT) for option in row["options"]]
        if row.get("answer") is not None:
            made["a"] = row["answer"]
    if objects := objects_of(row):
        made["o"] = objects
    if layout.scores:
        made["s"] = [_rounded(row.get(name)) for name in layout.scores]
    verdicts = [[names.number(label_of(name)), int(row[name])] for name in layout.verdicts if row.get(name) is not None]
    if verdicts:
        made["v"] = verdicts
    details = [
        [names.number(name), clip(plain(row[name]), MAX_DETAIL)]
        for name in layout.details
        if name not in used and row.get(name) not in (None, "", [])
    ]
    if details:
        made["d"] = details
    return made


def label_of(column: str) -> str:
    """What a reader calls a column."""
    return _LABELS.get(column, column.replace("_", " "))


def objects_of(row: Mapping[str, Any]) -> list[str]:
    """Names of what a row says is not there."""
    named = [str(row[name]) for name in _OBJECTS if row.get(name)]
    if query := row.get(QUERY):
        named = [str(query["named_object"])]
    listed = [str(item) for name in _OBJECT_LISTS for item in row.get(name) or ()]
    return list(dict.fromkeys(named or listed))


def _texts(row: Mapping[str, Any], names: Names) -> tuple[list[list[Any]], set[str]]:
    """The headline first; of a caption and its negated form, the words that differ are marked in both."""
    main = next((name for name in MAIN_TEXTS if row.get(name)), None)
    shown = [main] if main else []
    shown += [name for name in _TEXTS if row.get(name) and name != main]
    caption, negated = row.get("caption"), row.get("negated_caption")
    marked: dict[str, list[tuple[str, bool]]] = {}
    if caption and negated:
        marked["caption"], marked["negated_caption"] = word_diff(clip(caption, MAX_TEXT), clip(negated, MAX_TEXT))
    texts = []
    for name in shown:
        value, label = row[name], label_of(name)
        text = "\n".join(map(str, value)) if isinstance(value, list) else str(value)
        if name == QUERY:
            text, label = str(row[name]["instruction"]), f"{label_of(row[name]['kind'])} instruction"
        pieces = marked.get(name) or [(clip(text, MAX_TEXT), False)]
        texts.append([names.number(label), _alternating(pieces)])
    return texts, set(shown)


def _alternating(pieces: Sequence[tuple[str, bool]]) -> list[str]:
    """Plain and marked text in turn, plain first: [plain, marked, plain, ...]."""
    made: list[str] = []
    for text, differs in pieces:
        if len(made) % 2 != int(differs):
            made.append("")
        made.append(text)
    return made


def _rounded(value: Any) -> float | None:
    """Four significant digits; what JSON has no word for becomes null, as a missing score."""
    if value is None or value != value or value in (float("inf"), float("-inf")):
        return None
    return float(f"{value:.4g}")


def plain(value: Any) -> str:
    """A column's value as text; of an image, where it lies."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return " · ".join(value)
    if isinstance(value, list) and len(value) > _MANY and all(isinstance(item, (int, float)) for item in value):
        return f"{len(value):,} numbers"
    return json.dumps(value, ensure_ascii=False, default=plain)


def clip(text: str, length: int) -> str:
    """`text`, or its beginning with a sign that there is more."""
    return text if len(text) <= length else text[: length - 1] + "…"
