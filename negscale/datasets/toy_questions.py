"""Yes/no questions over drawn scenes with their true answers, and ten simulated annotators.

The offline stand-in for VQA v2 (Goyal et al., arXiv 1612.00837): whether a thing is there, its colour, where it stands,
what place it is, and some questions that no picture answers (opinions, text, the photograph). Each is a function of
(scene, seed, index). Annotators err at a rate that varies from question to question, so that "at least 8 of 10 say no"
neither keeps all true noes nor only true ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from negscale.core.rng import rng_for
from negscale.datasets.toy_icons import ICON_PX, OBJECTS
from negscale.datasets.toy_scenes import PLACES, SCENE_PX, Placed, Scene

ANNOTATORS = 10
_CELL_PX = SCENE_PX // 3
_MIDDLE_PX = ICON_PX // 2

# object -> its colour, and colours that parts of it have or that are near: not asked
COLOURS: dict[str, tuple[str, frozenset[str]]] = {
    "apple": ("green", frozenset({"brown", "yellow"})), "bench": ("brown", frozenset({"orange", "black", "yellow"})),
    "bird": ("blue", frozenset({"white", "orange", "yellow"})),
    "car": ("red", frozenset({"black", "blue", "yellow"})), "cat": ("orange", frozenset({"brown", "yellow", "green"})),
    "chair": ("brown", frozenset({"orange", "red", "black"})), "dog": ("brown", frozenset({"orange", "black", "red"})),
    "flower": ("pink", frozenset({"yellow", "green", "purple", "red"})), "hat": ("black", frozenset({"pink", "red"})),
    "tree": ("green", frozenset({"brown"})), "umbrella": ("purple", frozenset({"black", "pink", "blue"})),
}  # fmt: skip
ASKED_COLOURS = ("red", "blue", "green", "black", "brown", "purple", "orange", "pink", "white", "yellow")
LIVING = ("bird", "cat", "dog")
_INVISIBLE = (
    "Do you think the {a} is cute?", "Is this a black and white photo?", "Would you like to have this {a}?",
    "Is this picture blurry?", "Does the {a} say anything?", "Is the {a} expensive?", "Is this {a} famous?",
    "Can you buy this {a}?", "Why is the {a} there?", "Is the {a} beautiful?",
)  # fmt: skip
T = TypeVar("T")
_PLACE_NAMES = {"office": "an office"}


@dataclass(frozen=True, slots=True)
class ToyQuestion:
    """A question with VQA's label for its first words; ``truth`` is None where the picture holds no answer.

    ``error_rate``: how often an annotator gives the other answer; for questions without an answer, how often a "no".
    """

    text: str
    question_type: str
    truth: bool | None
    error_rate: float


def cell(placed: Placed) -> tuple[int, int]:
    """(row, column) of an object in the scene's 3 x 3 grid."""
    return (placed.y_px + _MIDDLE_PX) // _CELL_PX, (placed.x_px + _MIDDLE_PX) // _CELL_PX


def next_to(first: Placed, second: Placed) -> bool | None:
    """Side by side in one row; None where people would disagree (diagonal, or one above the other)."""
    rows, columns = (abs(a - b) for a, b in zip(cell(first), cell(second), strict=True))
    if max(rows, columns) > 1:
        return False
    return True if rows == 0 else None


def left_of(first: Placed, second: Placed) -> bool:
    """In a column further left."""
    return cell(first)[1] < cell(second)[1]


def above(first: Placed, second: Placed) -> bool | None:
    """In a higher row of the same column; None for a higher row of another column."""
    if cell(first)[0] >= cell(second)[0]:
        return False
    return True if cell(first)[1] == cell(second)[1] else None


def questions(what: Scene, seed: int, index: int, count: int) -> tuple[ToyQuestion, ...]:
    """`count` questions about a scene, none asked twice unless it offers too few."""
    rng = rng_for(seed, "toy_questions", index)
    asked: list[ToyQuestion] = []
    for _ in range(count):
        found = _question(what, rng)
        for _ in range(8):
            if found.text not in {other.text for other in asked}:
                break
            found = _question(what, rng)
        asked.append(found)
    return tuple(asked)


def votes(question: ToyQuestion, seed: int, row_id: str) -> tuple[tuple[str, str], ...]:
    """(answer, confidence) of each annotator, in VQA's words."""
    draws = rng_for(seed, "toy_votes", row_id).random((ANNOTATORS, 2))
    said = []
    for draw, confidence in draws.tolist():
        if question.truth is None:
            answer = draw >= question.error_rate
        else:
            answer = question.truth != (draw < question.error_rate)
        sure = confidence > 2 * question.error_rate
        said.append(("yes" if answer else "no", "yes" if sure else "maybe"))
    return tuple(said)


def _question(what: Scene, rng: np.random.Generator) -> ToyQuestion:
    draw, easy = rng.random(2)
    error_rate = 0.02 if easy < 0.6 else 0.15 if easy < 0.8 else 0.4  # easy, hard, a guess
    if draw < 0.45:
        return _existence(what, rng, error_rate)
    if draw < 0.60 and len(what.objects) > 1:
        return _position(what, rng, error_rate)
    if draw < 0.72 and len(what.objects) > 1 and any(p.name in LIVING for p in what.objects):
        return _action(what, rng, error_rate)
    if draw < 0.78:
        place = _one_of(PLACES, rng) if rng.random() < 0.8 else what.place
        name = _PLACE_NAMES.get(place.name, f"a {place.name}")
        return ToyQuestion(f"Is this {name}?", "is this a", place.name == what.place.name, error_rate)
    if draw < 0.90 and (coloured := [p.name for p in what.objects if p.name in COLOURS]):
        return _colour(_one_of(coloured, rng), rng, error_rate)
    if draw < 0.94:
        return _existence(what, rng, error_rate)
    text = _one_of(_INVISIBLE, rng).format(a=_one_of(what.objects, rng).name)
    return ToyQuestion(text, " ".join(text.lower().split()[:2]), None, float(rng.random()))


def _existence(what: Scene, rng: np.random.Generator, error_rate: float) -> ToyQuestion:
    # likely things are asked about, as people do: half of them are there
    present = rng.random() < 0.4
    absent = [name for name in OBJECTS if name not in what.names]
    weights = np.array([what.place.likely.get(name, 1.0) for name in absent])
    at = int(np.searchsorted(np.cumsum(weights), rng.random() * weights.sum(), "right"))
    name = _one_of(what.objects, rng).name if present else absent[min(at, len(absent) - 1)]
    form = rng.random()
    if form < 0.4:
        return ToyQuestion(f"Is there {with_article(name)} in the picture?", "is there a", present, error_rate)
    if form < 0.65:
        plural = f"{name}es" if name.endswith("ch") else f"{name}s"
        return ToyQuestion(f"Are there any {plural} in the image?", "are there any", present, error_rate)
    if form < 0.85 or present:
        return ToyQuestion(f"Is there {with_article(name)} {what.place.phrase}?", "is there a", present, error_rate)
    other = _one_of(what.objects, rng).name
    return ToyQuestion(f"Is there {with_article(name)} next to the {other}?", "is there a", False, error_rate)


def _colour(name: str, rng: np.random.Generator, error_rate: float) -> ToyQuestion:
    own, near = COLOURS[name]
    others = [colour for colour in ASKED_COLOURS if colour != own and colour not in near]
    asked = own if rng.random() < 0.35 else _one_of(others, rng)
    return ToyQuestion(f"Is the {name} {asked}?", "is the", asked == own, error_rate)


def _position(what: Scene, rng: np.random.Generator, error_rate: float) -> ToyQuestion:
    first, second = _two(what, rng)
    relation = _one_of(("next to", "to the left of", "to the right of", "above"), rng)
    truth = {
        "next to": next_to(first, second), "to the left of": left_of(first, second),
        "to the right of": left_of(second, first), "above": above(first, second),
    }[relation]  # fmt: skip
    if truth is None:  # annotators take sides
        return ToyQuestion(f"Is the {first.name} {relation} the {second.name}?", "is the", True, 0.5)
    return ToyQuestion(f"Is the {first.name} {relation} the {second.name}?", "is the", truth, error_rate)


def _action(what: Scene, rng: np.random.Generator, error_rate: float) -> ToyQuestion:
    first = _one_of([placed for placed in what.objects if placed.name in LIVING], rng)
    second = _one_of([placed for placed in what.objects if placed is not first], rng)
    verb = _one_of(("sit", "stand"), rng)
    acting = {"sit": "sitting", "stand": "standing"}[verb]
    text = f"Is the {first.name} {acting} next to the {second.name}?"
    if rng.random() < 0.3:
        text = f"Does the {first.name} {verb} next to the {second.name}?"
    near = next_to(first, second)
    return ToyQuestion(text, " ".join(text.lower().split()[:2]), near is not False, 0.5 if near is None else error_rate)


def _two(what: Scene, rng: np.random.Generator) -> tuple[Placed, Placed]:
    first = _one_of(what.objects, rng)
    return first, _one_of([placed for placed in what.objects if placed is not first], rng)


def _one_of(options: Sequence[T], rng: np.random.Generator) -> T:
    return options[int(rng.random() * len(options))]


def with_article(noun: str) -> str:
    """The noun with "a" or "an"."""
    return f"{'an' if noun[:1] in 'aeiou' else 'a'} {noun}"
