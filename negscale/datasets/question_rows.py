"""Rows of VQA questions: what the sources of questions share.

A question that no language model should see (empty, endless, not UTF-8) is quarantined under the kinds of
`negscale.datasets.captions`, with "question" in the place of "caption".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from negscale.core.schema import ENVELOPE, QUESTION
from negscale.datasets.captions import clean_caption, fault, storable

MAX_QUESTION_WORDS = 60
TABLE = pa.schema([*ENVELOPE, *QUESTION])


def clean_question(raw: object, max_words: int = MAX_QUESTION_WORDS) -> tuple[str, dict[str, Any] | None]:
    """(question as stored, None or its fault), as `clean_caption`."""
    if not isinstance(raw, (str, bytes)):
        return "", fault("empty_question", f"the question is {type(raw).__name__}, expected text")
    text, problem = clean_caption(raw, max_words)
    if problem is not None:
        message = problem["message"].replace("max_caption_words", "max_question_words").replace("caption", "question")
        problem = {**problem, "kind": problem["kind"].replace("caption", "question"), "message": message}
    return text, problem


class QuestionRows:
    """Collects rows of the question schema; ids that occurred before are made unique and quarantined."""

    def __init__(self) -> None:
        self._ids: set[str] = set()
        self._columns: dict[str, list[Any]] = {name: [] for name in TABLE.names}

    def add(
        self,
        row_id: str,
        *,
        image: Mapping[str, Any] | None = None,
        image_id: str = "",
        captions: Sequence[str] = (),
        caption_ids: Sequence[str] = (),
        question: str = "",
        question_id: str = "",
        question_type: str = "",
        answer_type: str = "",
        multiple_choice_answer: str = "",
        answers: Sequence[tuple[str, str]] = (),
        broken: Mapping[str, Any] | None = None,
    ) -> None:
        """Append one row; answers: (answer, confidence) of each annotator; broken: the row's fault."""
        row_id = unique = storable(row_id)
        if row_id in self._ids:
            copy = 2
            while (unique := f"{row_id}~{copy}") in self._ids:
                copy += 1
            broken = broken or fault("duplicate_id", f"id {row_id!r} occurred before; this copy is kept as {unique!r}")
        self._ids.add(unique)
        values = {
            "id": unique, "rejection": None, "quarantine": broken, "image": image, "image_captions": list(captions),
            "image_caption_ids": list(caption_ids), "image_id": storable(image_id), "question": question,
            "question_id": storable(question_id), "question_type": storable(question_type),
            "answer_type": storable(answer_type), "multiple_choice_answer": storable(multiple_choice_answer),
            "answers": [storable(answer) for answer, _ in answers],
            "answer_confidences": [storable(confidence) for _, confidence in answers],
        }  # fmt: skip
        for name, value in values.items():
            self._columns[name].append(value)

    def table(self) -> pa.Table:
        """The rows so far, as `TABLE`."""
        return pa.table({f.name: pa.array(self._columns[f.name], f.type) for f in TABLE}, schema=TABLE)
