"""What stands beside every accuracy: solvers without the image, the model with other images, rules of length.

NegBench (arXiv 2501.09425) prints none of them, though a classifier of single captions solves 83 % of its COCO questions
and a rule over the four texts more than 99 %. The bar for a model is the strongest of these, not chance. The solvers are
those of `negscale.questions`; here their credits stand item by item, so that the gain over them has an interval.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from negscale.benchmarks.figures import credit_estimate
from negscale.benchmarks.released import Task, questions_of
from negscale.core.benchmark import Estimate
from negscale.core.errors import ConfigError, PlanError
from negscale.core.rng import rng_for
from negscale.metrics.grounding import grounding_credit
from negscale.metrics.paired import Difference, paired_bootstrap
from negscale.questions.blind import joint_rule, length_rules, type_prior
from negscale.questions.lexicon import ANNOTATED, Lexicon
from negscale.questions.options import claims_of
from negscale.questions.table import credits
from negscale.questions.trained import caption_only_scores

JOINT = "joint rule"  # sees all options of a question at once, which no dual encoder does
TRAINED = "caption-only regression"


@dataclass(frozen=True)
class Controls:
    """Credits of every blind solver, item by item, and why others did not run."""

    credits: Mapping[str, np.ndarray]  # solver -> float64[n]
    images: tuple[str, ...]
    chance: float
    skipped: Mapping[str, str]

    def estimates(self, seed: int = 0) -> dict[str, Estimate]:
        """Solver -> accuracy with its interval."""
        return {name: credit_estimate(credit, list(self.images), name, seed) for name, credit in self.credits.items()}

    def strongest(self, joint: bool = False) -> str:
        """The best solver that judges each option alone, or with `joint` the best of all; "" when there is none."""
        names = [name for name in self.credits if joint or name != JOINT]
        return max(names, key=lambda name: float(self.credits[name].mean()), default="")

    def gain(self, credit: np.ndarray, seed: int = 0, joint: bool = False) -> tuple[str, Difference] | None:
        """(strongest solver, model minus solver over the same items); None without a solver or a scored item."""
        name = self.strongest(joint)
        if not name or np.isnan(credit).all():
            return None
        return name, paired_bootstrap(self.credits[name], credit, self.images, rng_for(seed, "gain", name))


def blind_controls(task: Task, items: pa.Table, name: str, lexicon: Lexicon = ANNOTATED, seed: int = 0) -> Controls:
    """Solvers that see no image: of choices among texts those of `negscale.questions`, of regions the boxes' geometry.

    Retrieval and 2 x 2 groups have none: no text and no image is right more often than another. Nor have classes: an answer
    without the image is one class for all, which has chance in balanced accuracy.
    """
    images = tuple(row[0] if row else "" for row in items["images"].to_pylist())
    if task == "choose_text":
        return _of_texts(items, images, name, lexicon, seed)
    if task == "choose_region":
        return _of_boxes(items, images)
    return Controls({}, images, float("nan"), {})


def with_other_images(items: pa.Table, seed: int = 0) -> pa.Table:
    """The items with every image replaced by another one of the set: what a model scores then, it owes to the texts.

    Of regions the expressions move instead, since boxes belong to their image. Raises PlanError for a single image.
    """
    moved = "texts" if items["boxes_xywh_px"].null_count < len(items) else "images"
    rows = [tuple(row) for row in items[moved].to_pylist()]
    distinct = sorted(set(rows))
    if len(distinct) < 2:
        raise PlanError(f"images cannot be exchanged: all {len(rows)} items share one")
    order = rng_for(seed, "other images").permutation(len(distinct))
    other = {distinct[a]: distinct[b] for a, b in zip(order, np.roll(order, 1), strict=True)}
    at = items.schema.get_field_index(moved)
    replaced = pa.array([list(other[row]) for row in rows], items.schema.field(at).type)
    return items.set_column(at, items.schema.field(at), replaced)


def _of_texts(items: pa.Table, images: tuple[str, ...], name: str, lexicon: Lexicon, seed: int) -> Controls:
    questions = questions_of(name, items)
    claims = claims_of(questions.texts, lexicon)
    scores = {
        "type prior": type_prior(questions, claims),
        JOINT: joint_rule(questions, claims),
        **length_rules(questions),
    }
    skipped = {}
    try:
        scores[TRAINED] = caption_only_scores(questions, seed=seed)
    except (ConfigError, PlanError) as error:
        skipped[TRAINED] = str(error)
    found = {solver: credits(questions, values) for solver, values in scores.items()}
    return Controls(found, images, questions.chance, skipped)


def _of_boxes(items: pa.Table, images: tuple[str, ...]) -> Controls:
    rules = {
        "largest box": lambda box: box[2] * box[3], "smallest box": lambda box: -box[2] * box[3],
        "leftmost box": lambda box: -box[0], "rightmost box": lambda box: box[0] + box[2],
    }  # fmt: skip
    boxes, answers = items["boxes_xywh_px"].to_pylist(), items["answer"].to_pylist()
    found = {
        name: np.array([
            grounding_credit([rule(box) for box in row], row, row[at]) for row, at in zip(boxes, answers, strict=True)
        ])
        for name, rule in rules.items()
    }  # fmt: skip
    return Controls(found, images, float(np.mean([1 / len(row) for row in boxes])), {})
