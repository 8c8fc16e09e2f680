"""Which objects an image lacks, and the instructions about them (NeIn, arXiv 2409.06481, section 3.1).

The authors draw 15 of 80 names, keep those whose BLIP cosine with the image is below 0.4 and give caption i the i-th
lowest. What differs: names that a caption mentions or annotations show are never drawn, fewer than five names are no crash,
sentences are English, every image goes to one split whole, and each edit has controls: an affirmative instruction, one
that denies what neither image has, and (where the caption's objects are known) one that affirms one object and denies
another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from negscale.core.backend import Extractor, ExtractRequest, Judge, Picture, Verdict
from negscale.core.rng import rng_for, seed_for
from negscale.core.schema import EDIT_PLAN, IMAGE, INSTRUCTIONS
from negscale.core.stage import Fault, Outcome, Reject, Resources, Row, Stage, row_seed
from negscale.language.instructions import fill, released, released_article
from negscale.language.nouns import mentions
from negscale.prompts import nein as prompts
from negscale.stages.asking import ask_again
from negscale.stages.pixels import ReadsImages, read_pixels

Style = Literal["grammatical", "as_released"]
KEPT = pa.field("kept_absent_object", pa.string())
PLAN = pa.struct([*EDIT_PLAN, KEPT])
PLANS = pa.schema([("edit_plans", pa.list_(PLAN)), ("split", pa.string())])
TWO_OBJECTS = pa.schema([
    ("affirmed_object", pa.string()),  # another object of the caption: in both images
    ("two_objects_instruction", pa.string()),  # affirms it and denies the added one; null = no such object is known
])  # fmt: skip


@dataclass(frozen=True, slots=True)
class Selection:
    """How absent objects are chosen; the values are the authors'."""

    vocabulary: tuple[str, ...]
    drawn: int = 15
    edits: int = 5
    below: float = 0.4  # image-text score
    eval_share: float = 0.066  # 24,182 of 366,957
    split_seed: int = 0


class RankAbsentObjects(Stage):
    """Draw names for each image, score them against it, keep the lowest: one plan an edit, the captions in turn."""

    name = "rank_absent_objects"
    version = 1
    reads = pa.schema([
        ("image", IMAGE), ("image_id", pa.string()), ("image_captions", pa.list_(pa.string())),
        ("first_caption_id", pa.string()),
    ])  # fmt: skip
    writes = PLANS

    def __init__(
        self, scorer: Callable[[], Judge], annotations: Callable[[], Judge] | None, images: ReadsImages,
        selection: Selection, seed: int, resources: Resources,
    ) -> None:  # fmt: skip
        """scorer: its score of a bare name counts; annotations: a judge whose yes excludes a name (None: none are known)."""
        self._build, self._build_annotations = scorer, annotations
        self._images, self._selection, self._seed = images, selection, seed
        self.resources = resources

    def setup(self) -> None:
        self.scorer = self._build()
        self.scorer.load()
        self.annotations = self._build_annotations() if self._build_annotations else None
        if self.annotations is not None:
            self.annotations.load()

    def close(self) -> None:
        self.scorer.close()
        if self.annotations is not None:
            self.annotations.close()

    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        pixels = read_pixels(rows, self._images) if self.scorer.needs_pixels else [None] * len(rows)
        names = [() if isinstance(p, Fault) else self._drawn(row) for row, p in zip(rows, pixels, strict=True)]
        asked = [(i, name) for i, drawn in enumerate(names) for name in drawn]
        pictures = [Picture(pixels[i], rows[i]["image_id"], self._seed_of(rows[i], name)) for i, name in asked]
        answers: dict[int, dict[str, Verdict | Fault]] = {i: {} for i in range(len(rows))}
        for (i, name), verdict in zip(asked, self.scorer.judge(pictures, [n for _, n in asked]), strict=True):
            answers[i][name] = verdict
        return [p if isinstance(p, Fault) else self._outcome(rows[i], answers[i]) for i, p in enumerate(pixels)]

    def _seed_of(self, row: Row, name: str) -> int:
        return seed_for(self._seed, row["id"], self.name, name)

    def _drawn(self, row: Row) -> tuple[str, ...]:
        """Names in a random order, which also settles ties of their scores."""
        captions = row["image_captions"] or ()
        allowed = [n for n in self._selection.vocabulary if not any(mentions(text, n) for text in captions)]
        if self.annotations is not None and allowed:
            picture = Picture(None, row["image_id"], 0)
            known = self.annotations.judge([picture] * len(allowed), allowed)
            # what annotations cannot tell (another vocabulary, no entry) is left to the scorer
            allowed = [n for n, v in zip(allowed, known, strict=True) if not (isinstance(v, Verdict) and v.accept)]
        order = rng_for(self._seed, row["id"], self.name).permutation(len(allowed))
        return tuple(allowed[k] for k in order[: self._selection.drawn])

    def _outcome(self, row: Row, answers: Mapping[str, Verdict | Fault]) -> Outcome:
        captions = row["image_captions"] or ()
        if not captions:
            return Reject("no_caption")
        scored = [(v.score, name) for name, v in answers.items() if isinstance(v, Verdict)]
        faults = [v for v in answers.values() if isinstance(v, Fault)]
        if faults and not scored:
            return faults[0]  # the scorer broke; the image said nothing
        low = sorted((pair for pair in scored if pair[0] < self._selection.below), key=lambda pair: pair[0])
        if not low:
            return Reject("no_absent_object")
        plans = []
        for i, (score, name) in enumerate(low[: self._selection.edits]):
            k = i % len(captions)
            plans.append({
                "caption": captions[k], "caption_id": row["first_caption_id"] if k == 0 else None,
                "absent_object": name, "selection_score": score,
                KEPT.name: _other_absent(name, [other for _, other in low[i + 1 :] + low[:i]]),
            })  # fmt: skip
        return {"edit_plans": plans, "split": self._split(row["image_id"])}

    def _split(self, image_id: str) -> str:
        # not the run's seed: runs with other seeds over the same images must not mix the splits
        share = seed_for(self._selection.split_seed, "split", image_id) / 2**63
        return "eval" if share < self._selection.eval_share else "train"


def _other_absent(name: str, others: Sequence[str]) -> str | None:
    """The first of `others` that is not in the image with `name` either: neither may imply the other."""
    return next((o for o in others if not mentions(o, name) and not mentions(name, o)), None)


class WriteInstructions(Stage):
    """Write what the editor is told and what the edit is tested with, from one of thirteen templates a row."""

    name = "write_instructions"
    version = 1
    reads = pa.schema([("edit_plan", PLAN)])
    writes = pa.schema([*EDIT_PLAN, *INSTRUCTIONS])

    def __init__(self, style: Style, seed: int, resources: Resources) -> None:
        self._style, self._seed = style, seed
        self.resources = resources

    def identity(self) -> Mapping[str, Any]:
        return prompts.texts()

    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        return [self._written(row["id"], row["edit_plan"]) for row in rows]

    def _written(self, row_id: str, plan: Row) -> Outcome:
        rng = rng_for(self._seed, row_id, self.name)
        template = prompts.TEMPLATES[int(rng.random() * len(prompts.TEMPLATES))]
        noun, kept = plan["absent_object"], plan[KEPT.name]
        if self._style == "as_released":
            negative = released(template.released, noun)
            keep = released(template.released, kept) if kept else None
            add = f"Add {released_article(noun)} {noun}."
        else:
            negative = fill(template.negative, noun)
            keep = fill(template.negative, kept) if kept else None
            add = fill(prompts.ADD, noun)
        return {
            **{field.name: plan[field.name] for field in EDIT_PLAN},
            "add_instruction": add, "negative_instruction": negative,
            "affirmative_instruction": fill(template.affirmative, noun), "keep_instruction": keep,
            KEPT.name: kept,
        }  # fmt: skip


class AffirmAnotherObject(Stage):
    """Write "There is a dog but no cat.": the denial is about the added object, the dog is one that the caption states.

    An editor that removes every object of the sentence, or the first one, fails on it.
    """

    name = "affirm_another_object"
    version = 1
    reads = pa.schema([("caption", pa.string()), ("image_id", pa.string()), ("absent_object", pa.string())])
    writes = TWO_OBJECTS

    def __init__(self, extractor: Callable[[], Extractor], seed: int, max_attempts: int, resources: Resources) -> None:
        self._build, self._seed, self._attempts = extractor, seed, max_attempts
        self.resources = resources

    def identity(self) -> Mapping[str, Any]:
        return {"two_objects": prompts.TWO_OBJECTS}

    def setup(self) -> None:
        self.extractor = self._build()
        self.extractor.load()

    def close(self) -> None:
        self.extractor.close()

    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        def ask(open_: Sequence[int], attempt: int) -> Sequence[Outcome]:
            answers = self.extractor.extract([
                ExtractRequest(
                    rows[i]["caption"], rows[i]["image_id"], row_seed(self._seed, rows[i], self.name, attempt)
                )
                for i in open_
            ])  # fmt: skip
            return [self._outcome(rows[i], answer) for i, answer in zip(open_, answers, strict=True)]

        return ask_again(len(rows), self._attempts, ask)

    def _outcome(self, row: Row, answer: list[str] | Fault) -> Outcome:
        if isinstance(answer, Fault):
            return answer
        noun = row["absent_object"]
        other = next((n for n in answer if n.strip() and not mentions(n, noun) and not mentions(noun, n)), None)
        text = fill(prompts.TWO_OBJECTS, noun, other) if other else None
        return {"affirmed_object": other, "two_objects_instruction": text}
