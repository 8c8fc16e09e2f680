"""Which object is absent: propose it, verify it (NegationCLIP, section 3.1, steps 1 and 2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from negscale.core.backend import Judge, Picture, ProposalRequest, Proposer, Strategy, Verdict
from negscale.core.schema import IMAGE, PROPOSAL, VERIFICATION
from negscale.core.stage import Fault, Outcome, Reject, Resources, Row, Stage, row_seed
from negscale.language.nouns import mentions
from negscale.prompts import negationclip as prompts
from negscale.stages.pixels import ReadsImages, read_pixels


class ProposeAbsentObject(Stage):
    """Ask for an object that the caption does not mention; refuse those that any caption of the image mentions.

    The authors take the LLM's first answer as it is. Here an answer that does not parse, or that a caption mentions
    (plurals and synonyms included), is asked again with another seed, up to `max_attempts`.
    """

    name = "propose_absent_object"
    version = 1
    reads = pa.schema([("caption", pa.string()), ("image_captions", pa.list_(pa.string()))])
    writes = PROPOSAL

    def __init__(
        self, proposer: Callable[[], Proposer], strategy: Strategy, seed: int, max_attempts: int, resources: Resources
    ) -> None:
        self._build, self._seed, self._attempts = proposer, seed, max_attempts
        self._strategy: Strategy = strategy
        self.resources = resources

    def identity(self) -> Mapping[str, Any]:
        return {k: v for k, v in prompts.texts().items() if k.startswith("propose")}

    def setup(self) -> None:
        self.proposer = self._build()
        self.proposer.load()

    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        outcomes: list[Outcome | None] = [None] * len(rows)
        for attempt in range(self._attempts):
            open_ = [i for i, o in enumerate(outcomes) if o is None or isinstance(o, Reject) or _again(o)]
            if not open_:
                break
            answers = self.proposer.propose([self._request(rows[i], attempt) for i in open_])
            for i, answer in zip(open_, answers, strict=True):
                outcomes[i] = _choose(answer, rows[i])
        return [o if o is not None else Reject("no_candidate") for o in outcomes]

    def _request(self, row: Row, attempt: int) -> ProposalRequest:
        seed = row_seed(self._seed, row, self.name, attempt)
        return ProposalRequest(row["caption"], tuple(row["image_captions"]), self._strategy, seed)


def _choose(answer: list[Any] | Fault, row: Row) -> Outcome:
    if isinstance(answer, Fault):
        return answer
    captions = {row["caption"], *row["image_captions"]}
    for proposal in answer:
        if not any(mentions(caption, proposal.object) for caption in captions):
            return {"absent_object": proposal.object, "proposal_score": proposal.score}
    return Reject("mentioned_in_caption" if answer else "no_candidate")


def _again(outcome: Outcome | None) -> bool:
    return isinstance(outcome, Fault) and outcome.retryable


class VerifyAbsent(Stage):
    """Refuse rows whose proposed object is in the picture after all.

    The authors take every answer without "yes" for absence. Here an answer that is neither yes nor no is asked again
    with another seed, up to `max_attempts`, then quarantined.
    """

    name = "verify_absent"
    version = 1
    reads = pa.schema([("image", IMAGE), ("image_id", pa.string()), ("absent_object", pa.string())])
    writes = VERIFICATION

    def __init__(
        self, judge: Callable[[], Judge], images: ReadsImages, seed: int, max_attempts: int, resources: Resources
    ) -> None:
        self._build, self._images, self._seed, self._attempts = judge, images, seed, max_attempts
        self.resources = resources

    def identity(self) -> Mapping[str, Any]:
        return {"verify": prompts.VERIFY}

    def setup(self) -> None:
        self.judge = self._build()
        self.judge.load()

    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        pixels = self._read(rows)
        outcomes: list[Outcome] = [p if isinstance(p, Fault) else Fault("unparsable", "", True) for p in pixels]
        for attempt in range(self._attempts):
            open_ = [i for i, p in enumerate(pixels) if not isinstance(p, Fault) and _again(outcomes[i])]
            if not open_:
                break
            pictures = [
                Picture(pixels[i], rows[i]["image_id"], row_seed(self._seed, rows[i], self.name, attempt))
                for i in open_
            ]  # fmt: skip
            verdicts = self.judge.judge(pictures, [rows[i]["absent_object"] for i in open_])
            for i, verdict in zip(open_, verdicts, strict=True):
                outcomes[i] = _verdict_outcome(verdict)
        return outcomes

    def _read(self, rows: Sequence[Row]) -> list[Any]:
        if not self.judge.needs_pixels:
            return [None] * len(rows)
        return read_pixels(rows, self._images)


def _verdict_outcome(verdict: Verdict | Fault) -> Outcome:
    if isinstance(verdict, Fault):
        return verdict
    if verdict.accept is None:
        return Fault("unparsable", f"expected yes or no, got {verdict.raw[:300]!r}", retryable=True)
    said = {"presence_score": verdict.score, "verifier_raw": verdict.raw}
    return Reject("object_present", keep=said) if verdict.accept else said
