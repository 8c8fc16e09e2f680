"""Questions in memory: an image, captions to choose from, the right one.

NegBench (arXiv 2501.09425) scores with ``argmax`` and its released files keep the right option in slot 0, so that a
scorer whose options all tie scores 100 %. Here credit is shared among ties, and no rule sees an option's position.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from negscale.core.errors import ConfigError


@dataclass(frozen=True)
class Questions:
    """n questions, each with two or more options of which one is right. All columns have length n.

    ``types`` are the file's own labels of the right answer ("" where it has none); ``groups`` join questions that share
    their options or were made together, None where the file names no groups. ``answers`` are option numbers from 0.
    """

    name: str
    images: tuple[str, ...]
    options: tuple[tuple[str, ...], ...]
    answers: tuple[int, ...]
    types: tuple[str, ...]
    groups: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        columns = (self.options, self.answers, self.types, *([] if self.groups is None else [self.groups]))
        if any(len(column) != len(self.images) for column in columns):
            raise ConfigError(f"{self.name}: columns of different lengths: {[len(c) for c in (self.images, *columns)]}")
        if not self.images:
            raise ConfigError(f"{self.name}: no questions")
        for number, (options, answer) in enumerate(zip(self.options, self.answers, strict=True)):
            if len(options) < 2 or not all(option.strip() for option in options):
                raise ConfigError(f"{self.name}: question {number} needs two or more captions with text: {options}")
            if not 0 <= answer < len(options):
                raise ConfigError(
                    f"{self.name}: question {number} has right answer {answer}; expected 0..{len(options) - 1}"
                )

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def sizes(self) -> np.ndarray:
        """int[n]: options of each question."""
        return np.array([len(options) for options in self.options])

    @cached_property
    def valid(self) -> np.ndarray:
        """bool[n, k]: which cells of a padded option matrix exist; k is the largest number of options."""
        return np.arange(self.sizes.max()) < self.sizes[:, None]

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """The distinct option texts, sorted."""
        return tuple(sorted({option for options in self.options for option in options}))

    @cached_property
    def codes(self) -> np.ndarray:
        """int[n, k]: each option's place in `texts`; -1 where there is no option."""
        place = {text: at for at, text in enumerate(self.texts)}
        found = np.full(self.valid.shape, -1)
        found[self.valid] = [place[option] for options in self.options for option in options]
        return found

    @property
    def chance(self) -> float:
        """Accuracy of a guess."""
        return float((1 / self.sizes).mean())

    def spread(self, values: np.ndarray, fill: float = -np.inf) -> np.ndarray:
        """float[n, k] of one value per distinct text (float[len(texts)]); `fill` where there is no option."""
        return np.where(self.valid, np.asarray(values, float)[self.codes], fill)

    def answers_text(self) -> list[str]:
        """The right option's text of each question."""
        return [options[answer] for options, answer in zip(self.options, self.answers, strict=True)]


def credits(questions: Questions, scores: np.ndarray, answers: np.ndarray | None = None) -> np.ndarray:
    """float[n]: 1/t where the right option is among t options that share the best score, else 0.

    scores: float[n, k], any value where there is no option; `answers` replaces the table's own.
    """
    values = np.where(questions.valid, scores, -np.inf)
    if np.isnan(values).any():
        raise ValueError("a score is not a number: such an option can neither win nor lose")
    best = (values == values.max(axis=1, keepdims=True)) & questions.valid
    right = np.asarray(questions.answers if answers is None else answers)
    return best[np.arange(len(questions)), right] / best.sum(axis=1)
