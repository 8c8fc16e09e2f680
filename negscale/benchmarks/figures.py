"""Metrics over score rows: value, count, missing, interval, and the same by the released protocol.

Accuracy overall and by type for choices (NegBench, arXiv 2501.09425; NegRefCOCOg, arXiv 2501.10913), text, image and group
score for 2 x 2 groups (arXiv 2204.03162), recall at 1, 5 and 10 both ways and the median rank for retrieval. The published
tables print values only.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import nan

import numpy as np
import pyarrow as pa

from negscale.benchmarks.classifying import class_metrics, probe_metrics
from negscale.benchmarks.evaluation import mean_of
from negscale.benchmarks.released import Task, questions_of
from negscale.benchmarks.scoring import GROUP_PARTS, ranks_of
from negscale.core.arrow import compute as pc
from negscale.core.benchmark import Estimate, Metric
from negscale.core.rng import rng_for
from negscale.metrics.intervals import DRAWS
from negscale.metrics.multiple_choice import Confusion, confusion_of_types
from negscale.metrics.ranking import Ranks
from negscale.metrics.retrieval import expected_hits, expected_ranks, released_hits
from negscale.questions.lexicon import ANNOTATED, Lexicon
from negscale.questions.options import claim_of

KS = (1, 5, 10)
DIRECTIONS = ("text_to_image", "image_to_text")


def metrics_of(task: Task, seed: int = 0, draws: int = DRAWS) -> tuple[Metric, ...]:
    """The metrics of a task's score rows. seed: of the intervals' resampling."""
    if task == "retrieve":
        found = [_recall(k, direction, seed, draws) for direction in DIRECTIONS for k in KS]
        return (*found, *(_median(direction) for direction in DIRECTIONS))
    if task in ("classify", "probe"):
        return (class_metrics if task == "classify" else probe_metrics)(seed, draws)
    if task == "two_by_two":
        return tuple(_share(f"{name}_score", f"{name}_credit", seed, draws) for name in GROUP_PARTS)
    return (_share("accuracy", "credit", seed, draws),)


def credit_estimate(credit: np.ndarray, images: list[str], name: str, seed: int = 0, draws: int = DRAWS) -> Estimate:
    """Mean of credits with its interval over images. credit: float[n], NaN = missing; name: seeds the resampling."""
    return mean_of(np.asarray(credit, float).tolist(), images, rng_for(seed, "interval", name), draws, credits=True)


def _share(name: str, column: str, seed: int, draws: int) -> Metric:
    def reduce(rows: pa.Table, which: str) -> Estimate:
        values = rows[which].to_pylist()
        return mean_of(values, rows["image_id"].to_pylist(), rng_for(seed, "interval", name), draws, credits=True)

    return Metric(name, "fraction", True, partial(reduce, which=column), partial(reduce, which=f"released_{column}"))


def _recall(k: int, direction: str, seed: int, draws: int) -> Metric:
    name = f"{direction}/recall@{k}"

    def reduce(rows: pa.Table, hits: Callable[[Ranks, int], np.ndarray]) -> Estimate:
        part = _of(rows, direction)
        return credit_estimate(hits(ranks_of(part), k), part["image_id"].to_pylist(), name, seed, draws)

    return Metric(name, "fraction", True, partial(reduce, hits=expected_hits), partial(reduce, hits=released_hits))


def _median(direction: str) -> Metric:
    def reduce(rows: pa.Table) -> Estimate:
        places = expected_ranks(ranks_of(_of(rows, direction)))
        known = places[~np.isnan(places)]
        missing = len(places) - len(known)
        return Estimate(float(np.median(known)), len(known), missing) if len(known) else Estimate(nan, 0, missing)

    return Metric(f"{direction}/median_rank", "rank", False, reduce)


def _of(rows: pa.Table, direction: str) -> pa.Table:
    return rows.filter(pc.equal(rows["direction"], direction))


def chosen_types(name: str, items: pa.Table, rows: pa.Table, lexicon: Lexicon = ANNOTATED) -> Confusion:
    """What is chosen by the type of the right option: options by what their texts claim, whatever their slot.

    items of choose_text and their `CHOICE_SCORE` rows.
    """
    questions = questions_of(name, items)
    kinds = {text: claim_of(text, lexicon).kind for text in questions.texts}
    scores = np.full(questions.valid.shape, -np.inf)
    scores[questions.valid] = np.concatenate(rows["scores"].to_pylist())
    option_types = [[kinds[text] for text in options] for options in questions.options]
    return confusion_of_types(scores, np.array(questions.answers), questions.types, option_types)
