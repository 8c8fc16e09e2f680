"""How much of a question file can be solved without its images: every blind solver, and what it may be feeding on.

NegBench (arXiv 2501.09425) and its successors print accuracies of models only. Text alone solves 83 % of its COCO
questions option by option and more than 99 % jointly, above every published model. Chance is not the bar; these are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np

from negscale.core.errors import ConfigError, PlanError
from negscale.metrics.statistics import wilson_interval
from negscale.questions.blind import joint_rule, length_rules, type_prior
from negscale.questions.files import read_questions
from negscale.questions.lexicon import ANNOTATED, Lexicon
from negscale.questions.options import KINDS, Claim, claims_of
from negscale.questions.table import Questions, credits
from negscale.questions.trained import FoldsBy, caption_only_scores, random_answers

TRAINED: dict[FoldsBy, str] = {"image": "caption-only regression", "group": "caption-only regression, folds by group"}
CONTROL = "the same on random answers"


@dataclass(frozen=True, slots=True)
class Solved:
    """A blind solver's accuracy with its 95 % Wilson interval; ties share credit."""

    solver: str
    accuracy: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Role:
    """Options of one kind that are right, or wrong: how many, their median length and their cues."""

    role: str
    kind: str
    options: int
    median_characters: float
    negated: int
    cues: dict[str, int]


@dataclass(frozen=True, slots=True)
class QuestionAudit:
    """What is known about one file. `positions`: right answers per slot; `skipped`: solver -> why it did not run."""

    name: str
    questions: int
    images: int
    groups: int | None
    chance: float
    solvers: tuple[Solved, ...]
    positions: tuple[int, ...]
    types: dict[str, int]
    roles: tuple[Role, ...]
    skipped: dict[str, str] = field(default_factory=dict)

    @property
    def strongest(self) -> Solved:
        """The blind solver that a model has to beat; the control on random answers does not count."""
        return max((s for s in self.solvers if s.solver != CONTROL), key=lambda solved: solved.accuracy)

    def facts(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "name": self.name, "questions": self.questions, "images": self.images, "groups": self.groups,
            "chance": self.chance, "strongest_blind": self.strongest.solver,
            "solvers": [{name: getattr(s, name) for name in Solved.__slots__} for s in self.solvers],
            "skipped": self.skipped, "answer_positions": list(self.positions), "answer_types": self.types,
            "roles": [{name: getattr(r, name) for name in Role.__slots__} for r in self.roles],
        }  # fmt: skip


def audit_files(paths: Sequence[str], objects: Sequence[str] = (), seed: int = 0) -> list[QuestionAudit]:
    """Audits of question files. objects: class names beyond those of COCO and Pascal VOC.

    All files are read before the first is audited. Raises ConfigError for a file that holds no questions.
    """
    if not paths:
        raise ConfigError("name one or more question files, e.g. negscale audit-questions questions.csv")
    lexicon = Lexicon((*ANNOTATED.names, *objects)) if objects else ANNOTATED
    return [audit_questions(questions, lexicon, seed) for questions in [read_questions(path) for path in paths]]


def audit_questions(questions: Questions, lexicon: Lexicon = ANNOTATED, seed: int = 0) -> QuestionAudit:
    """Run every blind solver on the questions."""
    claims = claims_of(questions.texts, lexicon)
    scores = {
        "joint rule": joint_rule(questions, claims), "type prior": type_prior(questions, claims), **length_rules(questions)
    }  # fmt: skip
    solvers = [_solved(name, credits(questions, found)) for name, found in scores.items()]
    skipped: dict[str, str] = {}
    for by, name in TRAINED.items():
        if by == "group" and questions.groups is None:
            continue
        try:
            solvers.append(_solved(name, credits(questions, caption_only_scores(questions, by=by, seed=seed))))
            if by == "image":
                drawn = random_answers(questions, seed)
                found = caption_only_scores(questions, by=by, seed=seed, answers=drawn)
                solvers.append(_solved(CONTROL, credits(questions, found, drawn)))
        except (ConfigError, PlanError) as error:
            skipped[name] = str(error)
    return QuestionAudit(
        questions.name, len(questions), len(set(questions.images)),
        None if questions.groups is None else len(set(questions.groups)), questions.chance, tuple(solvers),
        tuple(np.bincount(questions.answers, minlength=int(questions.sizes.max())).tolist()),
        dict(sorted(Counter(questions.types).items())), tuple(roles(questions, claims)), skipped,
    )  # fmt: skip


def roles(questions: Questions, claims: Sequence[Claim]) -> Iterable[Role]:
    """Right and wrong options by kind. claims: one per `questions.texts`."""
    right = np.arange(questions.valid.shape[1]) == np.asarray(questions.answers)[:, None]
    for role, cells in (("right", right), ("wrong", ~right & questions.valid)):
        codes = questions.codes[cells].tolist()
        for kind in KINDS:
            chosen = [code for code in codes if claims[code].kind == kind]
            if chosen:
                cues = Counter(form for code in chosen for form in claims[code].cues)
                lengths = median(len(questions.texts[code]) for code in chosen)
                negated = sum(bool(claims[code].cues) for code in chosen)
                yield Role(role, kind, len(chosen), lengths, negated, dict(sorted(cues.items())))


def _solved(name: str, credit: np.ndarray) -> Solved:
    return Solved(name, float(credit.mean()), *wilson_interval(float(credit.sum()), len(credit)))
