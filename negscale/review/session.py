"""One reviewer at one sample: what is shown, what was answered, what it comes to. Knows no HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import Any, Protocol

from negscale.core.backend import Image
from negscale.core.errors import ConfigError
from negscale.core.image import ImageError, encode
from negscale.review.answers import Act, Answer, AnswerLog, check_reviewer, last_standing, standing
from negscale.review.diff import word_diff
from negscale.review.sample import Sample
from negscale.review.summary import summarize
from negscale.storage.run_folder import RunFolder

MAX_SIDE_PX = 1600  # longer sides are scaled down before an image goes to the browser
_HEAD = ("id", "rejection", "quarantine", "caption", "negated_caption", "absent_object", "options", "answer")


class ReadsImages(Protocol):
    """Decodes an IMAGE reference; raises ImageError."""

    def read(self, ref: Mapping[str, Any]) -> Image: ...


class Session:
    """Answers of `reviewer` on `sample`. Comes back to where the reviewer stopped; safe to call from several threads."""

    def __init__(self, run: RunFolder, sample: Sample, images: ReadsImages, reviewer: str, seed: int = 0) -> None:
        record = run.record()
        self.title = f"{record['name']}/{record['version']}"
        self.sample, self.reviewer, self._seed, self._images = sample, check_reviewer(reviewer), seed, images
        self._log = AnswerLog(run.folder)
        self._answers = self._log.read()
        self._numbers = {row["id"]: number for number, row in enumerate(sample.rows)}
        self._lock = threading.Lock()

    # -- what is shown ------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Progress and figures, as JSON values. `next`: number of the first row without an answer, null at the end."""
        with self._lock:
            return self._state()

    def _state(self) -> dict[str, Any]:
        marks: list[str | None] = [None] * len(self.sample.rows)
        for answer in standing(self._answers):
            number = self._numbers.get(answer.row)
            # a row that changed since is asked again
            if number is not None and answer.reviewer == self.reviewer and answer.shown == self.sample.digests[number]:
                marks[number] = answer.act
        return {
            "title": self.title, "reviewer": self.reviewer, "population": self.sample.population, "marks": marks,
            "next": next((i for i, mark in enumerate(marks) if mark is None), None), "figures": summarize(self._answers),
        }  # fmt: skip

    def row(self, number: int) -> dict[str, Any]:
        """What is shown of row `number`, as JSON values; captions as [text, whether it differs] pairs."""
        row = self.sample.rows[number]
        caption, negated = row.get("caption"), row.get("negated_caption")
        gone, came = word_diff(caption, negated) if caption and negated else ([], [])
        return {
            "number": number, "id": row["id"], "question": self._question(),
            "images": self.sample.image_columns(),
            "caption": gone or ([(caption, False)] if caption else []),
            "negated_caption": came or ([(negated, False)] if negated else []),
            "absent_object": row.get("absent_object"),
            "options": row.get("options"), "answer": row.get("answer"),
            "details": [(name, _text(value)) for name, value in self._details(row) if value is not None],
        }  # fmt: skip

    def _question(self) -> str:
        names = self.sample.schema.names
        if "negated_caption" in names:
            return "Is every word of the new caption true of this image, and does it say what is absent?"
        if "options" in names:
            return "Is the marked option true of this image, and every other one false?"
        return "Is this row right?"

    def _details(self, row: Mapping[str, Any]) -> list[tuple[str, Any]]:
        hidden = {*_HEAD, *self.sample.image_columns()}
        return [(name, value) for name, value in row.items() if name not in hidden]

    def jpeg(self, number: int, column: str) -> bytes:
        """The image in `column` of row `number`, at most MAX_SIDE_PX wide and high. Raises ImageError."""
        if column not in self.sample.image_columns():
            raise ImageError("missing_image", f"the rows have no image {column!r}")
        value = self.sample.rows[number][column]
        pixels = self._images.read(value if isinstance(value, dict) else {"uri": value})
        if max(pixels.shape[:2]) > MAX_SIDE_PX:
            pixels = _scaled(pixels)
        return encode(pixels, "jpeg", quality=92)

    # -- what is answered ---------------------------------------------------------------------------------------------

    def answer(self, number: int, act: Act) -> dict[str, Any]:
        """Store yes, no or skip for row `number`; returns the new state. Raises ConfigError for anything else."""
        if act not in ("yes", "no", "skip") or not 0 <= number < len(self.sample.rows):
            raise ConfigError(f"row {number!r}, verdict {act!r}: expected a row of the sample and yes, no or skip")
        with self._lock:
            row = self.sample.rows[number]
            self._append(act, row["id"], self.sample.digests[number], str(row.get("negation_form") or ""))
            return self._state()

    def undo(self) -> dict[str, Any]:
        """Take back this reviewer's latest answer; the state's `row` says which row that was (null: there was none)."""
        with self._lock:
            last = last_standing(self._answers, self.reviewer)
            if last is not None:
                self._append("undo", last.row, last.shown, last.form)
            return {**self._state(), "row": self._numbers.get(last.row) if last is not None else None}

    def _append(self, act: Act, row: str, shown: str, form: str) -> None:
        answer: Answer = self._log.append(
            self.reviewer, act, row, shown=shown, form=form, population=self.sample.population, seed=self._seed
        )
        self._answers.append(answer)


def _scaled(pixels: Image) -> Image:
    import numpy as np
    from PIL import Image as Pillow

    picture = Pillow.fromarray(pixels, "RGB")
    picture.thumbnail((MAX_SIDE_PX, MAX_SIDE_PX), Pillow.Resampling.LANCZOS)
    return np.asarray(picture)


def _text(value: Any) -> Any:
    """A column's value as text, or a list of texts."""
    if isinstance(value, list):
        return [_text(item) for item in value]
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, default=_text)
