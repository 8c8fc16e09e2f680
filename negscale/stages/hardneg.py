"""Pairs of pictures that differ in one object (HardNeg-Syn of NegBench, arXiv 2501.09425, section D.1).

A scene is a background, a label and a companion; one picture shows both objects, the other the label without the companion.
What differs from the paper: both objects are verified in both pictures, companions that are the label itself are refused, a
black picture is made again, and both pictures of a pair are asked the same four options in the same order, of which another
one is true in each: whoever does not look is right at most half of the time, and never in both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from negscale.core.backend import Image, ImageMaker, ImageRequest, Judge, Picture, SceneRequest, SceneWriter, Verdict
from negscale.core.rng import rng_for
from negscale.core.schema import IMAGE, OBJECT_LISTS
from negscale.core.stage import Fault, Outcome, Reject, Resources, Row, Stage, row_seed
from negscale.language.nouns import indefinite
from negscale.prompts import hardneg as prompts
from negscale.stages.asking import ask_again
from negscale.stages.edits import StoresImages, output_fault
from negscale.stages.object_lists import same_thing
from negscale.stages.pixels import ReadsImages, read_pixels
from negscale.stages.questions import PLAN

SIDES = ("with", "without")  # the companion
SCENE = pa.schema([("background", pa.string()), ("companion", pa.string())])
PAIR = pa.schema([
    ("image_with", IMAGE), ("image_without", IMAGE), ("prompt_with", pa.string()), ("prompt_without", pa.string()),
    ("seed_with", pa.int64()), ("seed_without", pa.int64()),
])  # fmt: skip
SIDE = pa.struct([("image", IMAGE), ("has_companion", pa.bool_())])
SEEN = pa.schema([  # scores of the verifier, and the two pictures as a list
    ("label_score_with", pa.float32()), ("companion_score_with", pa.float32()), ("label_score_without", pa.float32()),
    ("companion_score_without", pa.float32()), ("sides", pa.list_(SIDE)),
])  # fmt: skip
TOLD = pa.schema([
    ("image", IMAGE), ("image_id", pa.string()), ("pair_id", pa.string()), ("caption", pa.string()), *OBJECT_LISTS,
    ("absent_object", pa.string()),  # the companion, where it is not in the picture
    ("question_plan", PLAN),
])  # fmt: skip


class ProposeScene(Stage):
    """Ask for a background and a companion of each label; an answer that cannot be used is asked again."""

    name = "propose_scene"
    version = 1
    reads = pa.schema([("label", pa.string())])
    writes = SCENE

    def __init__(self, writer: Callable[[], SceneWriter], seed: int, max_attempts: int, resources: Resources) -> None:
        self._build, self._seed, self._attempts = writer, seed, max_attempts
        self.resources = resources

    def identity(self) -> Mapping[str, Any]:
        return {"prompt": prompts.texts()["scene"]}

    def setup(self) -> None:
        self.writer = self._build()
        self.writer.load()

    def close(self) -> None:
        self.writer.close()

    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        def ask(open_: Sequence[int], attempt: int) -> Sequence[Outcome]:
            answers = self.writer.write([
                SceneRequest(rows[i]["label"], row_seed(self._seed, rows[i], self.name, attempt)) for i in open_
            ])  # fmt: skip
            outcomes: list[Outcome] = []
            for i, answer in zip(open_, answers, strict=True):
                if isinstance(answer, Fault):
                    outcomes.append(answer)
                elif same_thing(answer.companion, rows[i]["label"]):
                    outcomes.append(Fault("same_object", f"{answer.companion!r} beside itself", retryable=True))
                else:
                    outcomes.append({"background": answer.background, "companion": answer.companion})
            return outcomes

        outcomes = ask_again(len(rows), self._attempts, ask)
        return [Reject(o.kind) if isinstance(o, Fault) and o.kind == "same_object" else o for o in outcomes]


class MakeScenePair(Stage):
    """Make both pictures of each scene; they go to the store, the row gets the references."""

    name = "make_scene_pair"
    version = 1
    reads = pa.schema([("label", pa.string()), *SCENE])
    writes = PAIR

    def __init__(
        self, maker: Callable[[], ImageMaker], store: Callable[[], StoresImages], call_images: int, seed: int,
        max_attempts: int, resources: Resources,
    ) -> None:  # fmt: skip
        """call_images: pictures asked for in one call of the maker, which cuts its passes from them."""
        self._build, self._build_store, self._call = maker, store, call_images
        self._seed, self._attempts = seed, max_attempts
        self.resources = resources

    def identity(self) -> Mapping[str, Any]:
        return {"prompt": prompts.texts()["pair"], "call_images": self._call}

    def setup(self) -> None:
        self.maker = self._build()
        self.maker.load()
        self.store = self._build_store()
        self.store.load()

    def close(self) -> None:
        self.maker.close()
        self.store.close()

    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        asked = [(i, side) for i in range(len(rows)) for side in SIDES]
        texts = [pair_prompts(rows[i]["background"], rows[i]["label"], rows[i]["companion"]) for i in range(len(rows))]
        with self.store.batch() as batch:
            made = ask_again(
                len(asked), self._attempts, lambda open_, attempt: self._ask(rows, texts, asked, open_, attempt)
            )
            numbers = [batch.add(one["pixels"]) if isinstance(one, dict) else -1 for one in made]
            refs = batch.commit()
        outcomes: list[Outcome] = []
        for i in range(len(rows)):
            pair: dict[str, Any] = {}
            for k, side in enumerate(SIDES, 2 * i):
                one = made[k]
                if not isinstance(one, dict):
                    outcomes.append(one)
                    break
                pair |= {
                    f"image_{side}": refs[numbers[k]], f"prompt_{side}": texts[i][side].prompt, f"seed_{side}": one["seed"],
                }  # fmt: skip
            else:
                outcomes.append(pair)
        return outcomes

    def _ask(
        self, rows: Sequence[Row], texts: Sequence[Mapping[str, ImageRequest]], asked: Sequence[tuple[int, str]],
        open_: Sequence[int], attempt: int,
    ) -> list[Outcome]:  # fmt: skip
        outcomes: list[Outcome] = []
        for start in range(0, len(open_), self._call):
            requests = []
            for k in open_[start : start + self._call]:
                i, side = asked[k]
                text = texts[i][side]
                seed = row_seed(self._seed, rows[i], self.name, side, attempt)
                requests.append(ImageRequest(text.prompt, text.negative_prompt, seed))
            for request, answer in zip(requests, self.maker.make(requests), strict=True):
                outcomes.append(_picture(answer, request.seed))
        return outcomes


def _picture(answer: Image | Fault, seed: int) -> Outcome:
    problem = answer if isinstance(answer, Fault) else output_fault(answer)
    return problem if problem is not None else {"pixels": answer, "seed": seed}


def pair_prompts(background: str, label: str, companion: str) -> dict[str, ImageRequest]:
    """What is asked of the maker for each side; the companion is in the negative prompt of the side without it.

    >>> pair_prompts("a park", "dog", "scissors")["with"].prompt
    'a park with a dog next to a pair of scissors'
    """
    words = {"background": background, "label": indefinite(label), "companion": indefinite(companion)}
    return {
        "with": ImageRequest(prompts.WITH.format(**words)),
        "without": ImageRequest(prompts.WITHOUT.format(**words), companion),
    }


@dataclass(frozen=True, slots=True)
class _Claim:
    side: str
    object: str  # the column that names it
    holds: bool
    reason: str  # of the rejection when it does not


_CLAIMS = (
    _Claim("with", "label", True, "label_missing"), _Claim("with", "companion", True, "companion_missing"),
    _Claim("without", "label", True, "label_missing"), _Claim("without", "companion", False, "companion_present"),
)  # fmt: skip


class VerifyScenePair(Stage):
    """Look for both objects in both pictures; a pair of which one picture is not as asked for is refused."""

    name = "verify_scene_pair"
    version = 1
    reads = pa.schema(
        [("image_with", IMAGE), ("image_without", IMAGE), ("label", pa.string()), ("companion", pa.string())]
    )
    writes = SEEN

    def __init__(
        self, judge: Callable[[], Judge], images: ReadsImages, seed: int, max_attempts: int, resources: Resources
    ) -> None:
        """images: reads what `MakeScenePair` stored."""
        self._build, self._images, self._seed, self._attempts = judge, images, seed, max_attempts
        self.resources = resources

    def setup(self) -> None:
        self.judge = self._build()
        self.judge.load()

    def close(self) -> None:
        self.judge.close()

    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        pixels = {
            side: read_pixels([{"image": row[f"image_{side}"]} for row in rows], self._images) for side in SIDES
        }  # fmt: skip
        asked = [(i, claim) for i in range(len(rows)) for claim in _CLAIMS]

        def ask(open_: Sequence[int], attempt: int) -> Sequence[Outcome]:
            outcomes: dict[int, Outcome] = {}
            sound: list[int] = []
            for k in open_:
                picture = pixels[asked[k][1].side][asked[k][0]]
                if isinstance(picture, Fault):
                    outcomes[k] = picture
                else:
                    sound.append(k)
            pictures, names = [], []
            for k in sound:
                i, claim = asked[k]
                seed = row_seed(self._seed, rows[i], self.name, claim.side, claim.object, attempt)
                pictures.append(Picture(pixels[claim.side][i], f"{rows[i]['id']}-{claim.side}", seed))
                names.append(rows[i][claim.object])
            for k, verdict in zip(sound, self.judge.judge(pictures, names) if sound else (), strict=True):
                outcomes[k] = _answer(verdict)
            return [outcomes[k] for k in open_]

        answers = ask_again(len(asked), self._attempts, ask)
        size = len(_CLAIMS)
        return [self._outcome(row, answers[size * i : size * (i + 1)]) for i, row in enumerate(rows)]

    def _outcome(self, row: Row, answers: Sequence[Outcome]) -> Outcome:
        for answer in answers:
            if isinstance(answer, Fault):
                return answer
        said: list[Any] = list(answers)
        scores = {f"{c.object}_score_{c.side}": a["score"] for c, a in zip(_CLAIMS, said, strict=True)}
        wrong = next((c.reason for c, a in zip(_CLAIMS, said, strict=True) if a["seen"] != c.holds), None)
        if wrong is not None:
            return Reject(wrong, keep=scores)
        sides = [{"image": row[f"image_{side}"], "has_companion": side == "with"} for side in SIDES]
        return {**scores, "sides": sides}


def _answer(verdict: Verdict | Fault) -> Outcome:
    if isinstance(verdict, Fault):
        return verdict
    if verdict.accept is None:
        return Fault("unparsable", f"expected yes or no, got {verdict.raw[:300]!r}", retryable=True)
    return {"seen": verdict.accept, "score": verdict.score}


class TellSide(Stage):
    """One picture of a pair with what is in it, what is not, its caption and its question."""

    name = "tell_side"
    version = 1
    reads = pa.schema([("side", SIDE), ("label", pa.string()), *SCENE])
    writes = TOLD

    def __init__(self, seed: int, resources: Resources) -> None:
        self._seed = seed
        self.resources = resources

    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        return [self._one(row) for row in rows]

    def _one(self, row: Row) -> Outcome:
        label, companion, shown = row["label"], row["companion"], row["side"]["has_companion"]
        pair = row["id"].rpartition("#")[0]
        text = pair_prompts(row["background"], label, companion)["with" if shown else "without"].prompt
        return {
            "image": row["side"]["image"], "image_id": f"{pair}-{'with' if shown else 'without'}", "pair_id": pair,
            "caption": f"{text[:1].upper()}{text[1:]}.", "positive_objects": [label, companion] if shown else [label],
            "negative_objects": [] if shown else [companion], "absent_object": None if shown else companion,
            "question_plan": pair_question(label, companion, shown, rng_for(self._seed, pair, self.name)),
        }  # fmt: skip


def pair_question(label: str, companion: str, shown: bool, rng: np.random.Generator) -> dict[str, Any]:
    """The question about one picture of a pair; with an equal `rng`, both get the same options in the same order.

    Options: both objects (true with the companion), the denial of the companion alone or beside the label (true without
    it), and two that are false in both pictures.
    """
    hybrid = bool(rng.random() < 0.5)
    denial = ([label] if hybrid else [], [companion])
    options = (([label, companion], []), denial, ([companion], [label]), ([], [label]))
    order = [int(k) for k in rng.permutation(len(options))]
    return {
        "question_type": "positive" if shown else "hybrid" if hybrid else "negative",
        "answer": order.index(0 if shown else 1),
        "statements": [{"affirmed": options[k][0], "denied": options[k][1]} for k in order],
    }  # fmt: skip
