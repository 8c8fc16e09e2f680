"""Which items of a cell to show: those that the model is surest to be right on, and those that it is furthest from.

A mean hides what goes wrong; the released evaluators (NegBench, arXiv 2501.09425, `mcq.py`) keep no item at all. Order is by
margin: how much more the right answer scores than the best wrong one, or in retrieval how many items stand before the
right one. Equal margins are ordered by the hash of the id, so that the choice is the same every time and favours no place in
the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from math import isfinite
from typing import Any, TypeAlias

import pyarrow as pa

_BATCH = 4096
Box: TypeAlias = tuple[float, float, float, float, bool]  # x, y, w, h in pixels, whether it is the right one


@dataclass(frozen=True, slots=True)
class Option:
    """A text of an item, or the name of one of its regions."""

    text: str
    score: str  # as it is shown; "" where there is none
    right: bool | None = None  # None where the text is neither right nor wrong
    chosen: bool = False


@dataclass(frozen=True, slots=True)
class ShownItem:
    """One item as the page shows it."""

    id: str
    images: tuple[str, ...]
    kind: str  # its type, "" where it has none
    options: tuple[Option, ...]
    boxes: tuple[Box, ...] = ()
    verdict: str = ""  # "right by 0.031", "place 37 of 215"
    good: bool = False


def extremes(task: str, table: pa.Table, count: int) -> tuple[list[ShownItem], list[ShownItem]]:
    """(best, worst) items of a cell's table, at most `count` each and none on both sides; items without a score are neither.

    The rows of a table of any size are held a batch at a time.
    """

    def order(row: Mapping[str, Any]) -> tuple[float, bytes]:
        return -(margin(task, row) or 0.0), sha256(f"{row['id']} {row.get('text')}".encode()).digest()

    best: list[Mapping[str, Any]] = []
    worst: list[Mapping[str, Any]] = []
    scored = 0
    for batch in table.to_batches(max_chunksize=_BATCH):
        rows = [row for row in batch.to_pylist() if (found := margin(task, row)) is not None and isfinite(found)]
        scored += len(rows)
        best = sorted([*best, *rows], key=order)[:count]
        worst = sorted([*worst, *rows], key=order, reverse=True)[:count]
    if scored == 1:
        return ([shown_item(task, best[0])], []) if _good(task, best[0]) else ([], [shown_item(task, worst[0])])
    size = min(count, scored // 2)
    return [shown_item(task, row) for row in best[:size]], [shown_item(task, row) for row in worst[:size]]


def margin(task: str, row: Mapping[str, Any]) -> float | None:
    """How far the model is on the right side of the item, larger is better; None for an item that it did not score."""
    if task == "retrieve":
        return (
            None if row["direction"] != "text_to_image" or row["above"] < 0 else -float(row["above"] + row["tied"] - 1)
        )
    if "margin" in row:
        return row["margin"]
    scores = row["scores"]
    if not scores or any(score is None or score != score for score in scores):
        return None
    if task == "two_by_two":
        aa, ab, ba, bb = scores
        return min(aa - ab, bb - ba, aa - ba, bb - ab)
    others = [score for at, score in enumerate(scores) if at != row["answer"]]
    return scores[row["answer"]] - max(others) if others else None


def shown_item(task: str, row: Mapping[str, Any]) -> ShownItem:
    """A row as it is shown. Columns that an item of this kind has not may be absent."""
    shapes = {"retrieve": _place, "classify": _class, "probe": _class, "two_by_two": _group}
    options, verdict = shapes.get(task, _choice)(row)
    boxes: list[Box] = []
    if task == "choose_region":
        options = [Option(text, "") for text in row.get("texts") or ()] + [
            replace(option, text=f"region {at + 1}") for at, option in enumerate(options)
        ]
        drawn: Sequence[Any] = row.get("boxes_xywh_px") or ()
        for at, (x, y, w, h) in enumerate(drawn):
            boxes.append((x, y, w, h, at == row["answer"]))
    kind = str(row.get("type") or "")
    return ShownItem(str(row["id"]), tuple(_images(row)), kind, tuple(options), tuple(boxes), verdict, _good(task, row))


def _place(row: Mapping[str, Any]) -> tuple[list[Option], str]:
    """A caption of retrieval, and where its image stands."""
    place, others = row["above"] + 1, row["tied"] - 1
    said = f"its image shares place {place:,} with {others:,} others" if others else f"its image has place {place:,}"
    return [Option(str(row.get("text") or ""), "")], said


def _class(row: Mapping[str, Any]) -> tuple[list[Option], str]:
    """An image's class, and the one that was chosen instead."""
    options = [Option(row["class"], "", True, row["class"] == row["chosen"])]
    if row["class"] != row["chosen"]:
        options.append(Option(row["chosen"], "", False, True))
    return options, _by(row["margin"])


def _group(row: Mapping[str, Any]) -> tuple[list[Option], str]:
    """The two captions of a 2 x 2 group, each with what it scores on the first and the second image."""
    aa, ab, ba, bb = row["scores"]
    said = (f"{aa:.3f} · {ba:.3f}", f"{ab:.3f} · {bb:.3f}")
    options = [Option(text, scores) for text, scores in zip(_texts(row, 2), said, strict=True)]
    return options, "every comparison is right" if _good("two_by_two", row) else _failed(aa, ab, ba, bb)


def _choice(row: Mapping[str, Any]) -> tuple[list[Option], str]:
    """The texts of a choice; of regions their numbers take the texts' place."""
    scores, answer = row["scores"], row["answer"]
    options = [
        Option(text, f"{score:.3f}", at == answer, score == max(scores))
        for at, (text, score) in enumerate(zip(_texts(row, len(scores)), scores, strict=True))
    ]
    return options, _by(margin("choose_text", row) or 0.0)


def _good(task: str, row: Mapping[str, Any]) -> bool:
    if task == "retrieve":
        return row["above"] == 0 and row["tied"] == 1
    return (margin(task, row) or 0.0) > 0


def _by(value: float) -> str:
    return (
        f"right by {value:.3f}" if value > 0 else f"wrong by {-value:.3f}" if value < 0 else "a tie with the right one"
    )


def _failed(aa: float, ab: float, ba: float, bb: float) -> str:
    checks = (
        ("the first image prefers the other caption", aa > ab), ("the second image prefers the other caption", bb > ba),
        ("the first caption prefers the other image", aa > ba), ("the second caption prefers the other image", bb > ab),
    )  # fmt: skip
    return "; ".join(text for text, right in checks if not right)


def _images(row: Mapping[str, Any]) -> Sequence[str]:
    """The item's image references, whichever column holds them: a text, a struct with `uri`, or a list of these."""
    value = next((row[name] for name in ("images", "image") if row.get(name)), row.get("image_id"))
    several = value if isinstance(value, (list, tuple)) else [value]
    return [str(one.get("uri") if isinstance(one, Mapping) else one) for one in several if one]


def _texts(row: Mapping[str, Any], count: int) -> list[str]:
    texts: list[str] = list(row.get("texts") or ())
    return texts if len(texts) == count else [f"text {at + 1}" for at in range(count)]
