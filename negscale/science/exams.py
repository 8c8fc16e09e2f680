"""The exams of one seed, as tables of items: retrieval, questions, 2 x 2 groups, classes, on scenes nobody trained on.

Questions are our balanced ones: the texts of a set are drawn first, then which of them is right, so that no solver without
images beats chance. Their objects are one group of the split, their words those of `sentences`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from negscale.benchmarks.released import ITEM, ReleasedBenchmark, Task
from negscale.core.config import Config
from negscale.core.errors import PlanError
from negscale.core.rng import rng_for
from negscale.core.schema import PRESENCE
from negscale.datasets.toy_icons import OBJECTS
from negscale.datasets.toy_scenes import Scene, scene
from negscale.questions.balanced import BalancedOptions, build_balanced
from negscale.questions.lexicon import Lexicon
from negscale.questions.options import claim_of
from negscale.science.sentences import CAPTION, CLASS, DENYING_CAPTION, say, statement
from negscale.science.split import Split

LEXICON = Lexicon(OBJECTS)
_CAPTIONS = 2  # of an image, in retrieval


class ExamSizes(Config):
    """How much is asked."""

    scenes: int = Field(default=12_000, ge=100)
    """Scenes of the test world that exams choose from."""
    gallery: int = Field(default=160, ge=10)
    """Images among which captions find theirs."""
    questions: int = Field(default=96, ge=48)
    """Four-option questions about each of the three groups of objects."""
    classes: int = Field(default=240, ge=16)
    """Pictures with a single object, to be named."""
    referring_scenes: int = Field(default=2500, ge=100)
    """Scenes with several objects of one kind; of few of them something can be asked."""


@dataclass(frozen=True, slots=True)
class Exam:
    """Items in the form of the benchmarks, so that their scoring applies."""

    name: str
    task: Task
    items: pa.Table

    @property
    def types(self) -> list[str]:
        """Types of the right answers of questions; none for other exams."""
        return sorted({kind for kind in self.items["type"].to_pylist() if kind})

    def benchmark(self) -> ReleasedBenchmark:
        """What `negscale.benchmarks.scoring` wants to know of it."""
        return ReleasedBenchmark(
            f"toyworld/{self.name}",
            "made of drawn scenes",
            self.task,
            (),
            "drawn",
            "made where it is scored",
            _never_read,
        )


def _never_read(path: str, text: str) -> Iterable[Mapping[str, Any]]:
    raise PlanError(f"{path}: exams are made, not read")


def items_of(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """A table of `ITEM`; what a row does not name is empty."""
    empty = {"boxes_xywh_px": None, "answer": None, "type": "", "group": ""}
    return pa.Table.from_pylist([{"id": str(at), **empty, **row} for at, row in enumerate(rows)], ITEM)


def image_of(world: int, index: int) -> str:
    """How the images of a drawn world are named."""
    return f"toyworld:{world}/{index}"


def scene_exams(split: Split, seed: int, world: int, sizes: ExamSizes) -> list[Exam]:
    """All exams over single scenes. Raises PlanError where the scenes do not suffice."""
    scenes = [scene(world, index) for index in range(sizes.scenes)]
    plain, denying = _retrieval(split, seed, world, scenes[: sizes.gallery])
    questions, groups = _questions(split, seed, world, scenes, sizes.questions)
    return [
        Exam("retrieval", "retrieve", plain), Exam("retrieval_neg", "retrieve", denying),
        Exam("mcq", "choose_text", questions), Exam("groups", "two_by_two", groups),
        Exam("zero_shot", "choose_text", _classes(world, scenes, sizes.classes)),
    ]  # fmt: skip


def _retrieval(split: Split, seed: int, world: int, scenes: Sequence[Scene]) -> tuple[pa.Table, pa.Table]:
    """The same images, once with captions that state, once with captions that also deny what one would expect."""
    plain, denying = [], []
    for index, what in enumerate(scenes):
        rng = rng_for(seed, "retrieval", index)
        said: list[str] = []
        denied: list[str] = []
        for _ in range(_CAPTIONS):
            first = sorted(what.names)[int(rng.random() * len(what.names))]
            beside = [name for name in split.group_of(first) if name in what.names and name != first]
            absent = [name for name in split.group_of(first) if name not in what.names]
            said.append(say(CAPTION[1 + bool(beside)], [first, *beside[:1]], what.place.phrase, seed))
            if absent:
                weights = np.array([what.place.likely.get(name, 1.0) for name in absent])
                other = absent[int(rng.choice(len(absent), p=weights / weights.sum()))]
                denied.append(say(DENYING_CAPTION, [first, other], what.place.phrase, seed))
        plain.append({"images": [image_of(world, index)], "texts": list(dict.fromkeys(said))})
        if denied:
            denying.append({"images": [image_of(world, index)], "texts": list(dict.fromkeys(denied))})
    return items_of(plain), items_of(denying)


def _questions(split: Split, seed: int, world: int, scenes: Sequence[Scene], count: int) -> tuple[pa.Table, pa.Table]:
    """(questions, 2 x 2 groups) about every group of objects."""
    asked: list[dict[str, Any]] = []
    squares: list[dict[str, Any]] = []
    for number, group in enumerate(split.groups):
        found = build_balanced(
            _presence(world, scenes, group), seed, BalancedOptions(questions=count, images_per_set=4, draws=10)
        )
        told = {text: _reworded(text, seed) for text in found.questions.texts}
        questions = found.questions
        for at, options in enumerate(questions.options):
            asked.append({
                "images": [questions.images[at]], "texts": [told[text] for text in options],
                "answer": questions.answers[at], "type": questions.types[at],
                "group": f"{number}/{(questions.groups or ())[at]}",
            })  # fmt: skip
        right = [told[text] for text in questions.answers_text()]
        squares += [
            {
                "images": [questions.images[p.first], questions.images[p.second]],
                "texts": [right[p.first], right[p.second]],
            }
            for p in found.pairs
        ]
    return items_of(asked), items_of(squares)


def _presence(world: int, scenes: Sequence[Scene], names: Sequence[str]) -> pa.Table:
    rows = [
        {
            "image_id": image_of(world, index), "image_path": image_of(world, index),
            "present": [name for name in names if name in what.names],
            "absent": [name for name in names if name not in what.names],
        }
        for index, what in enumerate(scenes)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, PRESENCE)


def _reworded(text: str, seed: int) -> str:
    claim = claim_of(text, LEXICON)
    return statement(claim.affirmed, claim.denied, seed)


def _classes(world: int, scenes: Sequence[Scene], count: int) -> pa.Table:
    prompts = [say(CLASS, [name]) for name in OBJECTS]
    single = [(index, what) for index, what in enumerate(scenes) if len(what.names) == 1][:count]
    return items_of(
        {"images": [image_of(world, index)], "texts": prompts, "answer": OBJECTS.index(next(iter(what.names)))}
        for index, what in single
    )
