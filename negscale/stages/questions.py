"""Multiple-choice questions about what an image has and lacks (NegBench's NegMCQ and MCQ-Neg, arXiv 2501.09425, 2.2 and 2.3).

With A, B in the image and N not: "A and B" (positive), "not N" (negative) and "B, but not N" (hybrid) are true, "N, but
not B", "N" and "not A" are false. What differs from the released code: options are shuffled (there the true one comes
first in every evaluation row); a row with one positive asks negative, hybrid or "A" alone, one without any is refused
("features None"); and after paraphrasing every option must still say what it said.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from negscale.core.backend import Rephraser, RephraseRequest, Statement
from negscale.core.rng import rng_for
from negscale.core.schema import MCQ, STATEMENT
from negscale.core.stage import Fault, Outcome, Reject, Resources, Row, Stage, row_seed
from negscale.language.polarity import polarity
from negscale.language.statements import template
from negscale.prompts import negbench as prompts
from negscale.prompts.answers import parse_caption
from negscale.stages.asking import ask_again

PLAN = pa.struct([("question_type", pa.string()), ("answer", pa.int8()), ("statements", pa.list_(STATEMENT))])


class PlanQuestions(Stage):
    """Draw up to `questions` questions of a row, each about another absent object, types as likely as each other."""

    name = "plan_questions"
    version = 1
    reads = pa.schema([("positive_objects", pa.list_(pa.string())), ("negative_objects", pa.list_(pa.string()))])
    writes = pa.schema([("question_plans", pa.list_(PLAN))])

    def __init__(self, questions: int, seed: int, resources: Resources) -> None:
        self._questions, self._seed = questions, seed
        self.resources = resources

    def identity(self) -> Mapping[str, Any]:
        return {"questions": self._questions}

    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        return [self._plans(row) for row in rows]

    def _plans(self, row: Row) -> Outcome:
        positives, negatives = row["positive_objects"], row["negative_objects"]
        if not positives:
            return Reject("no_positive")
        rng = rng_for(self._seed, row["id"], self.name)
        order = rng.permutation(len(negatives))[: self._questions]
        plans = [plan_question(positives, negatives[int(k)], rng) for k in order]
        return {"question_plans": plans} if plans else Reject("no_negative")


def plan_question(positives: Sequence[str], absent: str, rng: np.random.Generator) -> dict[str, Any]:
    """One question: its type, its four statements in shuffled order, the index of the true one.

    Raises ValueError without a positive object.
    """
    if not positives:
        raise ValueError("a question needs an object that is in the image; positives is empty")
    drawn = [positives[int(k)] for k in rng.permutation(len(positives))[:2]]
    first, second = drawn[0], drawn[-1]
    types = ("positive" if len(drawn) == 2 else "modified_positive", "negative", "hybrid")
    question_type = types[int(rng.random() * len(types))]
    true = {
        "positive": Statement((first, second)), "modified_positive": Statement((first,)),
        "negative": Statement((), (absent,)), "hybrid": Statement((second,), (absent,)),
    }[question_type]  # fmt: skip
    false = (Statement((absent,), (second,)), Statement((absent,)), Statement((), (first,)))
    statements = (true, *false)
    order = [int(k) for k in rng.permutation(len(statements))]
    return {
        "question_type": question_type, "answer": order.index(0),
        "statements": [
            {"affirmed": list(statements[k].affirmed), "denied": list(statements[k].denied)} for k in order
        ],
    }  # fmt: skip


class WriteOptions(Stage):
    """Word the options: NegBench's templates, then, where there is a rephraser, other words for each.

    An option whose wording changed its truth value (an object lost, denied, affirmed or added from the row's lists) is
    asked again with another seed; one that never keeps it makes the row a rejection. The authors check nothing here.
    """

    name = "write_options"
    version = 1
    reads = pa.schema([
        ("question_plan", PLAN), ("positive_objects", pa.list_(pa.string())), ("negative_objects", pa.list_(pa.string())),
    ])  # fmt: skip
    writes = MCQ

    def __init__(
        self, rephraser: Callable[[], Rephraser] | None, medium: str, seed: int, max_attempts: int, max_words: int,
        resources: Resources,
    ) -> None:  # fmt: skip
        self._build, self._medium, self._seed = rephraser, medium, seed
        self._attempts, self._max_words = max_attempts, max_words
        self.resources = resources

    def identity(self) -> Mapping[str, Any]:
        said = {"rephrase": prompts.texts()["rephrase"], "max_words": self._max_words} if self._build else {}
        return {"medium": self._medium, **said}

    def setup(self) -> None:
        self.rephraser = self._build() if self._build else None
        if self.rephraser is not None:
            self.rephraser.load()

    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        asked = [(i, k) for i, row in enumerate(rows) for k in range(len(row["question_plan"]["statements"]))]
        statements = [_statement(rows[i]["question_plan"]["statements"][k]) for i, k in asked]
        texts = [template(s.affirmed, s.denied, self._medium) for s in statements]
        if self.rephraser is None:
            worded: list[Outcome] = [{"text": text} for text in texts]
        else:
            worded = self._reworded(rows, asked, statements, texts)
        by_row: list[list[Outcome]] = [[] for _ in rows]
        for (i, _), said in zip(asked, worded, strict=True):
            by_row[i].append(said)
        return [self._outcome(row, said) for row, said in zip(rows, by_row, strict=True)]

    def _reworded(
        self,
        rows: Sequence[Row],
        asked: Sequence[tuple[int, int]],
        statements: Sequence[Statement],
        texts: Sequence[str],
    ) -> list[Outcome]:
        assert self.rephraser is not None
        rephraser = self.rephraser

        def ask(open_: Sequence[int], attempt: int) -> Sequence[Outcome]:
            answers = rephraser.rephrase([
                RephraseRequest(
                    texts[n], statements[n], row_seed(self._seed, rows[asked[n][0]], self.name, asked[n][1], attempt)
                )
                for n in open_
            ])  # fmt: skip
            return [
                answer if isinstance(answer, Fault) else self._checked(answer, statements[n], rows[asked[n][0]])
                for n, answer in zip(open_, answers, strict=True)
            ]

        return ask_again(len(asked), self._attempts, ask)

    def _checked(self, text: str, statement: Statement, row: Row) -> Outcome:
        problem = option_problem(text, statement, [*row["positive_objects"], *row["negative_objects"]], self._max_words)
        return {"text": text} if problem is None else Fault(problem, f"option {text[:200]!r}", retryable=True)

    def _outcome(self, row: Row, worded: Sequence[Outcome]) -> Outcome:
        texts = []
        for said in worded:
            if isinstance(said, Fault):
                return Reject(said.kind) if said.kind in OPTION_PROBLEMS else said
            assert not isinstance(said, Reject)
            texts.append(said["text"])
        if len({text.casefold() for text in texts}) < len(texts):
            return Reject("equal_options")
        plan = row["question_plan"]
        return {
            "options": texts, "answer": plan["answer"], "question_type": plan["question_type"],
            "option_statements": plan["statements"],
        }  # fmt: skip


OPTION_PROBLEMS = ("not_a_sentence", "too_long", "object_lost", "polarity_changed", "object_added")


def option_problem(text: str, statement: Statement, others: Sequence[str], max_words: int) -> str | None:
    """Why `text` does not say `statement` (of the objects in `others` nothing else may be said); None when it does."""
    if parse_caption(text) is None:
        return "not_a_sentence"
    if len(text.split()) > max_words:
        return "too_long"
    for wanted, names in (("affirmed", statement.affirmed), ("denied", statement.denied)):
        for name in names:
            said = polarity(text, name)
            if said is None:
                return "object_lost"
            if said != wanted:
                return "polarity_changed"
    told = {*statement.affirmed, *statement.denied}
    return "object_added" if any(polarity(text, name) for name in others if not _named(name, told)) else None


def _named(name: str, told: set[str]) -> bool:
    """Whether naming `name` is part of naming one of `told` ("person" in "man", "table" in "dining table")."""
    return name in told or any(polarity(other, name) for other in told)


def _statement(values: Mapping[str, Sequence[str]]) -> Statement:
    return Statement(tuple(values["affirmed"]), tuple(values["denied"]))
