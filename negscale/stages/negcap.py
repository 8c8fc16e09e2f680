"""Captions that also say what is missing (NegBench's NegCap and Retrieval-Neg, arXiv 2501.09425, sections 2.2 and 2.3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from negscale.core.backend import Negater, NegationRequest, Order
from negscale.core.rng import rng_for
from negscale.core.schema import NEGATED_CAPTION
from negscale.core.stage import Fault, Outcome, Resources, Row, Stage, row_seed
from negscale.prompts import negbench as prompts
from negscale.stages.asking import ask_again


class DrawAbsentObjects(Stage):
    """Choose which of the verified negatives the captions of this row will deny: up to `captions`, none twice.

    The authors draw with replacement where there are fewer than three, which repeats captions.
    """

    name = "draw_absent_objects"
    version = 1
    reads = pa.schema([("negative_objects", pa.list_(pa.string()))])
    writes = pa.schema([("absent_objects", pa.list_(pa.string()))])

    def __init__(self, captions: int, seed: int, resources: Resources) -> None:
        self._captions, self._seed = captions, seed
        self.resources = resources

    def identity(self) -> Mapping[str, Any]:
        return {"captions": self._captions}

    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        return [{"absent_objects": self._drawn(row)} for row in rows]

    def _drawn(self, row: Row) -> list[str]:
        order = rng_for(self._seed, row["id"], self.name).permutation(len(row["negative_objects"]))
        return [row["negative_objects"][int(k)] for k in order[: self._captions]]


class WriteNegCap(Stage):
    """Write the caption with the absence in it, affirmation first or negation first, half and half by the row's draw."""

    name = "write_negcap"
    version = 1
    reads = pa.schema([("caption", pa.string()), ("absent_object", pa.string())])
    writes = pa.schema([*NEGATED_CAPTION, ("caption_order", pa.string())])

    def __init__(self, negater: Callable[[], Negater], seed: int, max_attempts: int, resources: Resources) -> None:
        self._build, self._seed, self._attempts = negater, seed, max_attempts
        self.resources = resources

    def identity(self) -> Mapping[str, Any]:
        texts = prompts.texts()
        return {name: texts[name] for name in ("negcap", "retrieval", "rephrase")}

    def setup(self) -> None:
        self.negater = self._build()
        self.negater.load()

    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        orders: list[Order] = [self._order(row["id"]) for row in rows]

        def ask(open_: Sequence[int], attempt: int) -> Sequence[Outcome]:
            answers = self.negater.negate([
                NegationRequest(
                    rows[i]["caption"], rows[i]["absent_object"],
                    row_seed(self._seed, rows[i], self.name, attempt), orders[i],
                )
                for i in open_
            ])  # fmt: skip
            return [
                answer if isinstance(answer, Fault) else {"negated_caption": answer, "caption_order": orders[i]}
                for i, answer in zip(open_, answers, strict=True)
            ]

        return ask_again(len(rows), self._attempts, ask)

    def _order(self, row_id: str) -> Order:
        return "affirmation_first" if rng_for(self._seed, row_id, "order").random() < 0.5 else "negation_first"
