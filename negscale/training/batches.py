"""Rows to tensors: the texts of a row, tokenised together, beside the vector of its image.

All texts of a step go through the encoder in one pass. Captions beyond the model's context (77 tokens for CLIP) are cut
and counted. A worker with fewer rows than slots fills up with empty texts that weigh nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from negscale.core.errors import PlanError
from negscale.core.rng import seed_for
from negscale.models.towers import Tokenizer
from negscale.training.objectives import MAKERS, Objective, made_text
from negscale.training.order import Cursor
from negscale.training.reader import RowBatch

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Batch:
    """One worker's share of a step. B slots, Q question slots of M options, T texts in all."""

    ids: list[str]  # of the rows, empty slots left out
    ids_TL: Tensor  # tokens of every text
    pieces: dict[str, slice]  # text name -> its rows in ids_TL; `options` holds Q * M
    image_BD: Tensor
    key_B: Tensor  # int64: hash of the image's name
    valid_B: Tensor  # bool
    has_B: dict[str, Tensor]  # bool: rows that have the text
    before_BD: Tensor | None
    question_image_QD: Tensor | None
    answer_Q: Tensor | None
    valid_Q: Tensor | None
    global_rows: int  # rows (and questions) of the step over all workers: what the loss is averaged over
    global_questions: int
    epoch: int
    after: dict[str, Cursor]  # stream -> where it stands once this step is done
    truncated: int  # texts that were cut
    unreadable: int  # rows whose image has no vector

    def to(self, device: str) -> Batch:
        """The same on a device."""
        moved: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                moved[field.name] = value.to(device, non_blocking=True)
        return replace(self, **moved, has_B={name: mask.to(device) for name, mask in self.has_B.items()})


class Collator:
    """Makes batches of rows. The made texts of a row depend on (seed, epoch, row id) alone."""

    def __init__(self, objective: Objective, tokenizer: Tokenizer, width: int, seed: int) -> None:
        """width: numbers of an embedding."""
        self._objective, self._width, self._seed = objective, width, seed
        self.tokenizer = tokenizer

    def __call__(self, rows: RowBatch, questions: RowBatch | None = None) -> Batch:
        """Tensors of one step."""
        texts: list[str] = []
        pieces: dict[str, slice] = {}
        image_BD, readable = self._vectors(rows)
        main = self._objective.texts[0]
        has_B = {}
        made = [self._made(row, rows.epoch) for row in rows.rows]
        for name in self._objective.texts:
            column = [texts_of[name] or "" for texts_of in made] + [""] * (rows.slots - len(made))
            pieces[name] = slice(len(texts), len(texts) + rows.slots)
            texts += column
            has_B[name] = torch.tensor([bool(text) for text in column])
        question_image, answer, valid_Q = None, None, None
        after = {"rows": rows.after}
        if questions is not None:
            start = len(texts)
            question_image, valid_Q = self._vectors(questions)
            answer = self._options(questions, texts)
            pieces["options"] = slice(start, len(texts))
            after["questions"] = questions.after
        tokens = self.tokenizer(texts)
        keys = [_key(row) for row in rows.rows] + list(range(-1, -1 - rows.slots + len(rows.rows), -1))
        return Batch(
            ids=[row["id"] for row in rows.rows], ids_TL=tokens.ids_TL, pieces=pieces, image_BD=image_BD,
            key_B=torch.tensor(keys, dtype=torch.int64), valid_B=readable & has_B[main], has_B=has_B,
            before_BD=self._before(rows), question_image_QD=question_image, answer_Q=answer, valid_Q=valid_Q,
            global_rows=rows.global_rows, global_questions=questions.global_rows if questions else 0, epoch=rows.epoch,
            after=after, truncated=tokens.truncated, unreadable=len(rows.rows) - int(readable.sum()),
        )  # fmt: skip

    def _made(self, row: Mapping[str, Any], epoch: int) -> dict[str, str | None]:
        made: dict[str, str | None] = {}
        for name in self._objective.texts:
            if name in MAKERS:
                made[name] = made_text(name, row, self._seed, epoch)
            else:
                made[name] = row[name]
        return made

    def _vectors(self, rows: RowBatch) -> tuple[Tensor, Tensor]:
        """float32[slots, D] of the images, and which of them there are."""
        found = torch.zeros(rows.slots, self._width)
        there = torch.zeros(rows.slots, dtype=torch.bool)
        if rows.rows:
            vectors = torch.from_numpy(rows.vectors["image"])
            there[: len(vectors)] = torch.isfinite(vectors).all(1)
            found[: len(vectors)] = torch.nan_to_num(vectors)
        return found, there

    def _before(self, rows: RowBatch) -> Tensor | None:
        if not self._objective.uses_before:
            return None
        found = torch.zeros(rows.slots, self._width)
        if rows.rows:
            found[: len(rows.rows)] = torch.from_numpy(rows.vectors["before"])
        return found

    def _options(self, questions: RowBatch, texts: list[str]) -> Tensor:
        counts = {len(row["options"]) for row in questions.rows} or {1}
        if len(counts) > 1:
            raise PlanError(f"questions of {sorted(counts)} options in one batch; expected one number in all runs")
        answers = []
        for row in questions.rows:
            texts += row["options"]
            answers.append(row["answer"])
        empty = questions.slots - len(questions.rows)
        texts += [""] * (empty * counts.pop())
        return torch.tensor(answers + [0] * empty, dtype=torch.int64)


def _key(row: Mapping[str, Any]) -> int:
    return seed_for(0, row["image_id"]) if row.get("image_id") else seed_for(1, row["id"])


def collated(collate: Collator, rows: Iterable[RowBatch], questions: Iterator[RowBatch] | None) -> Iterator[Batch]:
    """A batch of rows (and one of questions) a step."""
    for batch in rows:
        yield collate(batch, next(questions) if questions is not None else None)


def ahead(items: Iterable[T], depth: int = 2) -> Iterator[T]:
    """`items`, up to `depth` of them made in the background. An error in the making is raised where it belongs."""
    source = iter(items)
    end: Any = object()
    step: Callable[[], Any] = lambda: next(source, end)  # noqa: E731 - what the one thread runs
    with ThreadPoolExecutor(1, "negscale-batches") as pool:
        waiting = [pool.submit(step) for _ in range(depth)]
        while (item := waiting.pop(0).result()) is not end:
            waiting.append(pool.submit(step))
            yield item
