"""The caption that states the absence: write it, check it (NegationCLIP, section 3.1, step 3; the check is ours)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from negscale.core.backend import Negater, NegationRequest
from negscale.core.schema import CAPTION_CHECK, NEGATED_CAPTION
from negscale.core.stage import Fault, Outcome, Reject, Resources, Row, Stage, row_seed
from negscale.language.check import CheckOptions, check_negated_caption
from negscale.prompts import negationclip as prompts
from negscale.stages.asking import ask_again


class NegateCaption(Stage):
    """Rewrite the caption so that it states the absence; an unparsable answer is asked again with another seed."""

    name = "negate_caption"
    version = 1
    reads = pa.schema([("caption", pa.string()), ("absent_object", pa.string())])
    writes = NEGATED_CAPTION

    def __init__(self, negater: Callable[[], Negater], seed: int, max_attempts: int, resources: Resources) -> None:
        self._build, self._seed, self._attempts = negater, seed, max_attempts
        self.resources = resources

    def identity(self) -> Mapping[str, Any]:
        return {k: v for k, v in prompts.texts().items() if k.startswith("negate")}

    def setup(self) -> None:
        self.negater = self._build()
        self.negater.load()

    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        def ask(open_: Sequence[int], attempt: int) -> Sequence[Outcome]:
            answers = self.negater.negate([
                NegationRequest(
                    rows[i]["caption"], rows[i]["absent_object"], row_seed(self._seed, rows[i], self.name, attempt)
                )
                for i in open_
            ])  # fmt: skip
            return [answer if isinstance(answer, Fault) else {"negated_caption": answer} for answer in answers]

        return ask_again(len(rows), self._attempts, ask)


class CheckNegatedCaption(Stage):
    """Refuse captions that do not say what they should: the paper trusts its LLM here.

    See `negscale.language.check` for the reasons.
    """

    name = "check_negated_caption"
    version = 1
    reads = pa.schema([
        ("caption", pa.string()), ("negated_caption", pa.string()), ("absent_object", pa.string()),
        ("image_captions", pa.list_(pa.string())),
    ])  # fmt: skip
    writes = CAPTION_CHECK

    def __init__(self, options: CheckOptions, resources: Resources) -> None:
        self._options = options
        self.resources = resources

    def identity(self) -> Mapping[str, Any]:
        return {"options": asdict(self._options)}

    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        return [self._check(row) for row in rows]

    def _check(self, row: Row) -> Outcome:
        others = [caption for caption in row["image_captions"] if caption != row["caption"]]
        result = check_negated_caption(
            row["caption"], row["negated_caption"], row["absent_object"], others, options=self._options
        )
        if not result.accepted:
            return Reject(result.reason or "not_accepted")
        return {"negation_form": result.form, "negation_position": result.position}
