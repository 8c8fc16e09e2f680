"""Answers of reviewers: one small object each below ``review/answers/`` of the run folder, never changed afterwards.

Nothing is appended to a file, since object stores have no append; put-if-absent gives every answer of a reviewer its
number, so that two windows of one reviewer lose nothing. To undo is an answer too.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Literal, get_args

from negscale.core.errors import AuditError, ConfigError
from negscale.storage.folder import Folder

FOLDER = "review/answers"
Verdict = Literal["yes", "no", "skip"]
Act = Literal["yes", "no", "skip", "undo"]
_REVIEWER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
_NAME = re.compile(r"review/answers/(?P<reviewer>[A-Za-z0-9][A-Za-z0-9_-]{0,39})\.(?P<number>\d{6})\.json")
_THREADS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one reviewer said of one row."""

    reviewer: str
    number: int  # counts the answers of this reviewer, from 0
    row: str  # id
    act: Act  # "undo" takes back the reviewer's latest answer that stands
    shown: str  # digest of the row as it was shown
    form: str  # negation form of the row, "" where the run has none
    population: int  # kept rows from which the row was drawn
    seed: int  # of the sample
    at: float = 0.0  # seconds since 1970, for people; no rule depends on it


def check_reviewer(name: str) -> str:
    """`name` itself when it can be part of a file name. Raises ConfigError."""
    if not _REVIEWER.fullmatch(name):
        raise ConfigError(
            f"reviewer {name!r}: expected 1 to 40 letters, digits, - or _, beginning with a letter or digit; set --reviewer"
        )
    return name


class AnswerLog:
    """The answers of all reviewers of a run, at any folder or URI."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._known: dict[str, Answer] = {}

    def names(self) -> list[str]:
        """Objects that hold an answer, from one listing."""
        return sorted(entry.path for entry in self._folder.list(FOLDER) if _NAME.fullmatch(entry.path))

    def read(self) -> list[Answer]:
        """Every answer, by reviewer and number; only new ones are fetched. Raises AuditError for a damaged one."""
        new = [name for name in self.names() if name not in self._known]
        with ThreadPoolExecutor(_THREADS) as pool:
            self._known.update(zip(new, pool.map(self._one, new), strict=True))
        return sorted(self._known.values(), key=lambda answer: (answer.reviewer, answer.number))

    def _one(self, name: str) -> Answer:
        try:
            answer = Answer(**json.loads(self._folder.read(name)))
        except (ValueError, TypeError) as error:
            raise AuditError(f"{name} in {self._folder.uri} is damaged ({error}); move it away") from error
        if answer.act not in get_args(Act):
            raise AuditError(f"{name} in {self._folder.uri} says {answer.act!r}, not {' | '.join(get_args(Act))}")
        return answer

    def append(self, reviewer: str, act: Act, row: str, *, shown: str, form: str, population: int, seed: int) -> Answer:
        """Write an answer; it is on the disk (synced) or in the store when this returns."""
        number = max((a.number for a in self._known.values() if a.reviewer == reviewer), default=-1) + 1
        while True:
            answer = Answer(
                reviewer=check_reviewer(reviewer), number=number, row=row, act=act, shown=shown, form=form,
                population=population, seed=seed, at=time.time(),
            )  # fmt: skip
            name = f"{FOLDER}/{reviewer}.{number:06d}.json"
            if self._folder.put_if_absent(name, json.dumps(asdict(answer)).encode()):
                self._known[name] = answer
                return answer
            number += 1  # another window of this reviewer was faster


def standing(answers: Iterable[Answer]) -> list[Answer]:
    """The answers that hold: the latest of each reviewer on each row, after what was undone is gone."""
    histories: dict[str, list[Answer]] = {}
    for answer in sorted(answers, key=lambda a: (a.reviewer, a.number)):
        history = histories.setdefault(answer.reviewer, [])
        if answer.act != "undo":
            history.append(answer)
        elif (at := last_of(history, answer.row)) is not None:
            del history[at]
    return [answer for history in histories.values() for answer in {a.row: a for a in history}.values()]


def last_of(history: Sequence[Answer], row: str) -> int | None:
    """Index of the latest answer on `row`; None when there is none."""
    return next((i for i in range(len(history) - 1, -1, -1) if history[i].row == row), None)


def last_standing(answers: Iterable[Answer], reviewer: str) -> Answer | None:
    """The answer that an undo of this reviewer would take back."""
    mine = [answer for answer in standing(answers) if answer.reviewer == reviewer]
    return max(mine, key=lambda answer: answer.number, default=None)
