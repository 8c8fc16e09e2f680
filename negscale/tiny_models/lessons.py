"""What the tiny models learn from: conversations of NegationCLIP P1 about drawn scenes, with good answers.

The conversations are taken from P1's own roles (`backends/chat_roles.py`) while the grammar of `backends/tiny/chat.py`
answers them, so that prompts and lessons cannot drift apart. What is in a picture is known from its drawing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from negscale.backends.chat_roles import ChatNegater, ChatProposer
from negscale.backends.tiny.chat import TinyChat, likely_object
from negscale.core.backend import ChatRequest, Image, NegationRequest, ProposalRequest, Reply, Turn
from negscale.core.rng import rng_for, seed_for
from negscale.core.stage import Fault
from negscale.datasets.toy_icons import OBJECTS
from negscale.datasets.toy_scenes import PLACE_BY_NAME, PLACES, Scene, captions, draw, scene
from negscale.prompts.negationclip import verify_prompt

TRAIN_WORLD, TEST_WORLD = 71_001, 71_002  # seeds of toyworld; runs begin at 0
DESCRIBE = (
    "Describe this image."  # an easy lesson: whoever learns it finds the objects, which yes or no alone teaches slowly
)
_CAPTIONS = 2


def train_world(seed: int) -> int:
    """The drawn world that a training with this seed learns from; never that of the test."""
    return TRAIN_WORLD + 100 * seed


@dataclass(frozen=True, slots=True)
class Lesson:
    """A conversation and the answer to learn."""

    turns: tuple[Turn, ...]
    answer: str


class _Notebook:
    """ChatModel that passes requests on to the teacher and notes what was said."""

    id, exact, accepts_images = "notebook", True, False

    def __init__(self) -> None:
        self._teacher = TinyChat()
        self.lessons: list[Lesson] = []

    def load(self) -> None:
        return None

    def close(self) -> None:
        return None

    def generate(self, requests: Sequence[ChatRequest]) -> list[Reply | Fault]:
        replies = self._teacher.generate(requests)
        self.lessons += [
            Lesson(request.turns, reply.text)
            for request, reply in zip(requests, replies, strict=True)
            if isinstance(reply, Reply)
        ]
        return replies


def proposals(world: int, scenes: range) -> list[Lesson]:
    """One contextual proposal for each caption of the scenes, as likely as the caption's place makes it."""
    notebook = _Notebook()
    ChatProposer(notebook).propose([
        ProposalRequest(text, (text,), "contextual", seed_for(world, "propose", index, k))
        for index, k, text in _captions(world, scenes)
    ])  # fmt: skip
    return notebook.lessons


def random_proposals(world: int, scenes: range) -> list[Lesson]:
    """One proposal of Rand-P1 for each scene."""
    notebook = _Notebook()
    requests = [ProposalRequest("", (), "random", seed_for(world, "random", index)) for index in scenes]
    ChatProposer(notebook).propose(requests)
    return notebook.lessons


def negations(world: int, scenes: range) -> list[Lesson]:
    """One negated caption for each caption; the absent object is a likely one or, one time in two, any.

    In every other scene place and objects do not go together: whoever guesses instead of copying is wrong there.
    """
    notebook = _Notebook()
    requests = []
    for index, k, text in _captions(world, scenes, mixed_up=True):
        rng = rng_for(world, "negate", index, k)
        mentioned = objects_in(text)
        unmentioned = [name for name in OBJECTS if name not in mentioned]
        said = likely_object(text, rng) if rng.random() < 0.5 else unmentioned[int(rng.random() * len(unmentioned))]
        requests.append(NegationRequest(text, said, seed_for(world, "negate", index, k)))
    ChatNegater(notebook).negate(requests)
    return notebook.lessons


def objects_in(caption: str) -> set[str]:
    """The objects that a caption of toyworld mentions; it has them in the singular only."""
    return set(OBJECTS) & set(caption.lower().rstrip(".").split())


def _captions(world: int, scenes: range, mixed_up: bool = False) -> list[tuple[int, int, str]]:
    return [
        (index, k, text)
        for index in scenes
        for k, text in enumerate(
            captions(
                _mixed_up(world, index) if mixed_up and index % 2 else scene(world, index), world, index, _CAPTIONS
            )
        )
    ]


def _mixed_up(world: int, index: int) -> Scene:
    """A scene with any objects in any place."""
    what, rng = scene(world, index), rng_for(world, "mixed up", index)
    names = rng.permutation(np.array(OBJECTS)).tolist()
    placed = tuple(replace(old, name=name) for old, name in zip(what.objects, names, strict=False))
    return replace(what, place=PLACES[int(rng.random() * len(PLACES))], objects=placed)


@dataclass(frozen=True, slots=True)
class Exam:
    """A picture and questions about it: object -> whether it is there."""

    pixels: Image
    what: Scene
    asked: tuple[tuple[str, bool], ...]

    def questions(self) -> list[tuple[str, str]]:
        """(the verifier's question, yes or no), and first the request for a description."""
        verified = [(verify_prompt(name), "yes" if there else "no") for name, there in self.asked]
        return [(DESCRIBE, description(self.what)), *verified]


def exams(world: int, scenes: range, questions: int) -> list[Exam]:
    """As many questions about present as about absent objects; half of the absent ones are likely in the place."""
    return [_exam(world, index, questions) for index in scenes]


def _exam(world: int, index: int, questions: int) -> Exam:
    what = scene(world, index)
    rng = rng_for(world, "exam", index)
    present = sorted(what.names)
    likely = PLACE_BY_NAME[what.place.name].likely
    absent = [name for name in OBJECTS if name not in what.names]
    likely_absent = [name for name in absent if name in likely] or absent
    asked: list[tuple[str, bool]] = []
    draw_from: tuple[Callable[[], Sequence[str]], ...] = (
        lambda: present,
        lambda: absent,
        lambda: present,
        lambda: likely_absent,
    )
    for k in range(questions):
        names = draw_from[k % 4]()
        asked.append((names[int(rng.random() * len(names))], k % 2 == 0))
    return Exam(draw(what), what, tuple(asked))


def description(what: Scene) -> str:
    """Objects in reading order, and the place: "a tree, a dog in the park"."""
    placed = sorted(what.objects, key=lambda each: (each.y_px // 32, each.x_px // 32))
    return (
        ", ".join(f"{'an' if each.name[0] in 'aeiou' else 'a'} {each.name}" for each in placed)
        + f" {what.place.phrase}"
    )


def object_grid(what: Scene) -> np.ndarray:
    """int64[3, 3]: number of the object in each cell of the drawing, len(OBJECTS) where none is."""
    grid = np.full((3, 3), len(OBJECTS), np.int64)
    for placed in what.objects:
        grid[placed.y_px // 32, placed.x_px // 32] = OBJECTS.index(placed.name)
    return grid
