"""A trained solver that never sees the image: logistic regression over the words of one option.

The control that NegBench (arXiv 2501.09425) lacks: TF-IDF of words and word pairs, each option scored alone, trained and
tested by cross-validation. Questions of one image never stand on both sides of a fold; with groups, neither do those of
one group, whose options are the same texts with other right answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from negscale.core.errors import ConfigError, PlanError
from negscale.core.rng import rng_for
from negscale.questions.table import Questions

FOLDS = 5
FoldsBy = Literal["image", "group"]


def folds_by(keys: Sequence[str], seed: int, folds: int = FOLDS) -> np.ndarray:
    """int[n] fold of each question: equal keys share one, sizes are about equal, the order of keys does not matter.

    Raises PlanError when there are fewer keys than folds.
    """
    names, place, counts = np.unique(np.asarray(keys), return_inverse=True, return_counts=True)
    if len(names) < folds:
        raise PlanError(f"{len(names)} distinct keys cannot fill {folds} folds")
    order = rng_for(seed, "folds").permutation(len(names))
    order = order[np.argsort(-counts[order], kind="stable")]  # large ones first, so that the rest evens out
    fold_of, load = np.zeros(len(names), int), np.zeros(folds, int)
    for unit in order:
        fold_of[unit] = load.argmin()
        load[fold_of[unit]] += counts[unit]
    return fold_of[place]


def caption_only_scores(
    questions: Questions, *, by: FoldsBy = "image", seed: int = 0, answers: np.ndarray | None = None
) -> np.ndarray:
    """float[n, k]: each option's held-out log-odds of being right, by its words alone.

    by: what a fold keeps together. "group": questions that share an image with the tested fold are left out of its
    training as well. "image": groups may be split, which shows whether a set leaks through its groups.
    answers: int[n] labels to learn instead of the table's own. Raises PlanError for too few images or groups.
    """
    if by == "group" and questions.groups is None:
        raise PlanError(f"{questions.name}: folds by group need groups, and the file has none")
    images = np.asarray(questions.images)
    keys = questions.images if by == "image" or questions.groups is None else questions.groups
    fold = folds_by(keys, seed)
    right = np.asarray(questions.answers if answers is None else answers)
    labels = np.arange(questions.valid.shape[1]) == right[:, None]
    texts = np.array(questions.texts, dtype=object)
    scores = np.zeros(questions.valid.shape)
    for number in range(FOLDS):
        test = fold == number
        train = ~test & ~np.isin(images, images[test])
        cells = questions.valid & train[:, None]
        if not train.any():
            raise PlanError(f"{questions.name}: every question shares an image with fold {number}: nothing to train on")
        needed = np.unique(questions.codes[test][questions.valid[test]])
        scored = np.full(len(texts), np.nan)
        scored[needed] = _fit_and_score(texts[questions.codes[cells]], labels[cells], texts[needed])
        scores[test] = np.where(questions.valid[test], scored[questions.codes[test]], -np.inf)
    return scores


def random_answers(questions: Questions, seed: int = 0) -> np.ndarray:
    """int[n]: a right option drawn at random per question; whatever learns from these must score chance."""
    return rng_for(seed, "random answers").integers(0, questions.sizes)


def _fit_and_score(texts: np.ndarray, right: np.ndarray, ask: np.ndarray) -> np.ndarray:
    vectoriser, model = _classifier()
    model.fit(vectoriser.fit_transform(texts), right)
    return model.decision_function(vectoriser.transform(ask))


def _classifier() -> tuple[Any, Any]:
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise ConfigError(f"the trained blind solver needs scikit-learn ({error}): install negscale[report]") from None
    # liblinear: exact on sparse data in seconds; its only randomness is shuffling, which the seed fixes
    return TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression(solver="liblinear", random_state=0, max_iter=200)
