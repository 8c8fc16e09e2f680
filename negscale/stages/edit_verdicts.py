"""Keep the edits that show what was asked for (NeIn, arXiv 2409.06481, section 3.1; filtering_phase/filtering.py).

The authors keep an edit when BLIP's cosine with "CAPTION. This image has a dog." is above 0.4 and LLaVA-NeXT says "Yes" to
both questions. What differs: a second judge of another family may have to agree, what changed outside of the object's box
counts, every score stays in the row (refused rows too), and an answer that is neither yes nor no is asked again, then
quarantined, where the authors take it for no.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from negscale.core.backend import Detector, Image, Judge, Picture, Verdict
from negscale.core.schema import EDIT_VERDICT, IMAGE
from negscale.core.stage import Fault, Outcome, Reject, Resources, Row, Stage, row_seed
from negscale.prompts import nein as prompts
from negscale.stages.locality import Box, change, regions
from negscale.stages.pixels import ReadsImages, read_pixels

# matcher: its score of the caption with the object counts, the claim is a text; caption: does it fit? the claim is the
# caption; object, second (of another family): is it there? the claim is its name. A role that is missing is not asked.
Role = Literal["matcher", "caption", "object", "second"]
NOTHING: Mapping[str, Any] = {field.name: None for field in EDIT_VERDICT}


@dataclass(frozen=True, slots=True)
class EditRules:
    """When an edit is kept."""

    above: float = 0.4  # the matcher's score must be
    max_change_outside: float | None = None  # mean |difference| in 0..1 outside of the box; None = any
    box_margin: float = 0.15  # the box grows by this share of its size on each side: shadows, soft edges
    second_must_agree: bool = True
    judge_all: bool = True  # False: a refused row is asked nothing more, and the judges' agreement is known of fewer
    max_attempts: int = 3


@dataclass(slots=True)
class _Case:
    """One row while it is judged."""

    row: Row
    pixels: Image
    said: dict[str, Any]
    reason: str = ""
    fault: Fault | None = None


class JudgeEdit(Stage):
    """Compare, ask, measure; refuse with the first reason found."""

    name = "judge_edit"
    version = 1
    reads = pa.schema([
        ("image", IMAGE), ("image_id", pa.string()), ("caption", pa.string()), ("absent_object", pa.string()),
        ("add_instruction", pa.string()), ("image_with_object", IMAGE), ("edit_box_xyxy_px", pa.list_(pa.float32())),
    ])  # fmt: skip
    writes = EDIT_VERDICT

    def __init__(
        self, judges: Callable[[], Mapping[Role, Judge]], rules: EditRules, images: ReadsImages, made: ReadsImages,
        seed: int, resources: Resources, locator: Callable[[], Detector] | None = None,
    ) -> None:  # fmt: skip
        """images: reads `image`; made: reads `image_with_object`; locator: finds the object where the editor told no box."""
        self._build_locator = locator
        self._build, self._rules, self._images, self._made, self._seed = judges, rules, images, made, seed
        self.resources = resources

    def identity(self) -> Mapping[str, Any]:
        return prompts.filter_texts()

    def setup(self) -> None:
        self.locator = self._build_locator() if self._build_locator else None
        if self.locator is not None:
            self.locator.load()
        self.judges = self._build()
        for judge in self.judges.values():
            judge.load()

    def close(self) -> None:
        if self.locator is not None:
            self.locator.close()
        for judge in self.judges.values():
            judge.close()

    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        edited = read_pixels([{"image": row["image_with_object"]} for row in rows], self._made)
        cases = {
            i: _Case(row, pixels, dict(NOTHING))
            for i, (row, pixels) in enumerate(zip(rows, edited, strict=True)) if not isinstance(pixels, Fault)
        }  # fmt: skip
        open_ = list(cases.values())
        self._match(open_)
        self._measure(open_)
        self._ask(open_, "caption", "caption", "caption_holds", "", "caption_does_not_hold")
        self._ask(open_, "object", "absent_object", "object_seen", "object_score", "object_not_seen")
        second = "second_judge_disagrees" if self._rules.second_must_agree else ""
        self._ask(open_, "second", "absent_object", "second_object_seen", "second_object_score", second)
        return [_outcome(cases[i]) if i in cases else pixels for i, pixels in enumerate(edited)]

    def _going_on(self, cases: Sequence[_Case]) -> list[_Case]:
        return [c for c in cases if c.fault is None and (self._rules.judge_all or not c.reason)]

    def _match(self, cases: Sequence[_Case]) -> None:
        if "matcher" not in self.judges:
            return
        claims = [prompts.matching_text(c.row["caption"], c.row["add_instruction"]) for c in cases]
        for case, verdict in zip(cases, self._verdicts("matcher", cases, claims, needs_answer=False), strict=True):
            if isinstance(verdict, Fault):
                case.fault = verdict
                continue
            case.said["caption_score"] = verdict.score
            if verdict.score <= self._rules.above:
                case.reason = case.reason or "caption_score_low"

    def _measure(self, cases: Sequence[_Case]) -> None:
        located = [(c, box) for c, box in self._boxes(self._going_on(cases)) if box is not None]
        before = read_pixels([c.row for c, _ in located], self._images)
        limit = self._rules.max_change_outside
        for (case, box), pixels in zip(located, before, strict=True):
            if isinstance(pixels, Fault):
                case.fault = pixels
                continue
            inside, outside = change(pixels, case.pixels, box, self._rules.box_margin)
            case.said["change_inside"], case.said["change_outside"] = inside, outside
            if limit is not None and outside is not None and outside > limit:
                case.reason = case.reason or "changed_elsewhere"

    def _boxes(self, cases: Sequence[_Case]) -> list[tuple[_Case, Box | None]]:
        """Each case with the object's region: the editor's own word, else what the locator finds."""
        told: list[tuple[_Case, Box | None]] = [(c, c.row["edit_box_xyxy_px"]) for c in cases]
        untold = [c for c, box in told if box is None]
        if self.locator is None or not untold:
            return told
        found = regions(self.locator, [c.pixels for c in untold], [c.row["absent_object"] for c in untold])
        return [*((c, box) for c, box in told if box is not None), *zip(untold, found, strict=True)]

    def _ask(self, cases: Sequence[_Case], role: Role, claim: str, seen: str, score: str, reason: str) -> None:
        if role not in self.judges:
            return
        asked = self._going_on(cases)
        for case, verdict in zip(asked, self._verdicts(role, asked, [c.row[claim] for c in asked]), strict=True):
            if isinstance(verdict, Fault):
                case.fault = verdict
                continue
            case.said[seen] = verdict.accept
            if score:
                case.said[score] = verdict.score
            if not verdict.accept:
                case.reason = case.reason or reason

    def _verdicts(
        self, role: Role, cases: Sequence[_Case], claims: Sequence[str], needs_answer: bool = True
    ) -> list[Verdict | Fault]:
        """One verdict a case; what is no answer is asked again with another seed."""
        found: list[Verdict | Fault] = [Fault("unparsable", "never asked", retryable=True)] * len(cases)
        for attempt in range(self._rules.max_attempts):
            open_ = [k for k, v in enumerate(found) if isinstance(v, Fault) and v.retryable]
            if not open_:
                break
            pictures = []
            for k in open_:
                seed = row_seed(self._seed, cases[k].row, self.name, role, attempt)
                pictures.append(Picture(cases[k].pixels, cases[k].row["image_id"], seed))
            for k, verdict in zip(open_, self.judges[role].judge(pictures, [claims[k] for k in open_]), strict=True):
                if isinstance(verdict, Verdict) and verdict.accept is None and needs_answer:
                    raw = verdict.raw[:300]
                    verdict = Fault("unparsable", f"{role}: expected yes or no, got {raw!r}", retryable=True)
                found[k] = verdict
        return found


def _outcome(case: _Case) -> Outcome:
    if case.fault is not None:
        return case.fault
    return Reject(case.reason, keep=case.said) if case.reason else case.said
