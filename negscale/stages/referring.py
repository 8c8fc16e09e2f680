"""Referring expressions with negation: choose the expression, its candidates, and check what it denies.

NegRefCOCOg (NegationCLIP, arXiv 2501.10913): RefCOCOg expressions with a negation word, the referred object against
another one of its category in the same image, boxes enlarged. The size rule and the enlarging are unpublished; see
`negscale.core.boxes` for what the released patches show. What differs: a negation counts by its scope, not by its word;
the target's place among the candidates is drawn (it is the first in all 440 released items); and an expression that
denies what the annotations show at the target is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from negscale.core.boxes import Box, area, as_box, enlarge, grown, intersection, iou
from negscale.core.rng import rng_for
from negscale.core.schema import DENIAL, DENIAL_EVIDENCE, EXPRESSION, REFERRING
from negscale.core.stage import Fault, Outcome, Reject, Resources, Row, Stage
from negscale.language.denials import Denial, Side, denies_category, find_denial

INSTANCES = EXPRESSION.field("instances")


class SelectNegatedExpression(Stage):
    """Keep expressions that deny something.

    Reasons: ``no_negation``, ``look_alike`` ("batter no . 10"), ``double_negation``, ``denies_nothing``.
    """

    name = "select_negated_expression"
    version = 1
    reads = pa.schema([("expression", pa.string())])
    writes = DENIAL

    def __init__(self, resources: Resources) -> None:
        self.resources = resources

    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        return [_selected(find_denial(row["expression"])) for row in rows]


def _selected(denial: Denial | str) -> Outcome:
    if isinstance(denial, str):
        return Reject(denial)
    return {
        "negation_cue": denial.cue, "negation_form": denial.form, "negation_position": denial.position,
        "denied": denial.phrase,
    }  # fmt: skip


@dataclass(frozen=True, slots=True)
class CandidateRules:
    """Which objects of the image may stand beside the target, and how their patches are cut. Lengths in pixels."""

    min_side_px: float  # of the annotated box, for target and negatives
    min_area_px: float
    max_iou: float  # of two candidates' annotated boxes
    expansion: float  # patch side / box side
    keep_apart: bool  # a patch stops at the annotated box of another candidate
    max_negatives: int


class ChooseCandidates(Stage):
    """The target among other objects of its category, in a drawn order, as enlarged patches.

    Reasons: ``crowd`` (the target is a region of many), ``too_small`` (target), ``no_negative`` (no other object of the
    category), ``negatives_too_small``, ``overlap`` (each other one overlaps the target).
    """

    name = "choose_candidates"
    version = 1
    reads = pa.schema([EXPRESSION.field("image"), EXPRESSION.field("referred_id"), INSTANCES])
    writes = REFERRING

    def __init__(self, rules: CandidateRules, seed: int, resources: Resources) -> None:
        self._rules, self._seed = rules, seed
        self.resources = resources

    def identity(self) -> Mapping[str, Any]:
        return asdict(self._rules)

    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        return [self._choose(row) for row in rows]

    def _choose(self, row: Row) -> Outcome:
        image, found = row["image"], _placed(row["instances"])
        target = found.get(row["referred_id"])
        width, height = image["width_px"], image["height_px"]
        if target is None:
            return Fault("bad_annotation", f"object {row['referred_id']!r} has no usable box")
        if not width or not height:
            return Fault("missing_image_size", "patches are cut at the image's border, whose size the source must give")
        if target.crowd:
            return Reject("crowd")
        if not self._is_large(target.box):
            return Reject("too_small")
        others = [o for o in found.values() if o.category == target.category and o.id != target.id and not o.crowd]
        large = [other for other in others if self._is_large(other.box)]
        apart = [other for other in large if iou(other.box, target.box) <= self._rules.max_iou]
        if not apart:
            return Reject("no_negative" if not others else "overlap" if large else "negatives_too_small")
        rng = rng_for(self._seed, row["id"], self.name)
        chosen = [target]
        for at in rng.permutation(len(apart)).tolist():
            if all(iou(apart[at].box, other.box) <= self._rules.max_iou for other in chosen):
                chosen.append(apart[at])
            if len(chosen) > self._rules.max_negatives:
                break
        chosen = [chosen[at] for at in rng.permutation(len(chosen)).tolist()]
        patches = [self._patch(one, chosen, width, height) for one in chosen]
        if None in patches:
            return Fault("bad_annotation", f"a box of {[one.id for one in chosen]} lies outside of its image")
        return {
            "boxes_xywh_px": patches, "candidate_ids": [one.id for one in chosen], "target": chosen.index(target),
        }  # fmt: skip

    def _is_large(self, box: Box) -> bool:
        return min(box[2], box[3]) >= self._rules.min_side_px and area(box) >= self._rules.min_area_px

    def _patch(self, one: Placed, chosen: Sequence[Placed], width: int, height: int) -> Box | None:
        others = [other.box for other in chosen if other is not one] if self._rules.keep_apart else []
        return enlarge(one.box, self._rules.expansion, width, height, others)


@dataclass(frozen=True, slots=True)
class DenialRules:
    """When an annotated object counts as being at a candidate."""

    margin: float  # the candidate's box grows by this share of its width and height on each side
    min_share: float  # of the object's area that must lie in the grown box
    vocabulary: tuple[str, ...]  # the categories that the source annotates


class CheckDenial(Stage):
    """Refuse expressions whose denial the annotations contradict; note whether it is false of the negatives.

    The denied thing is looked for among the annotated objects at the target, and a denied side is compared with the
    order of the objects of the category. What no box can tell (attributes, actions, parts) passes, with
    `denial_checked` false. Reason: ``contradicts_annotations``.
    """

    name = "check_denial"
    version = 1
    reads = pa.schema([
        EXPRESSION.field("expression"), EXPRESSION.field("referred_id"), INSTANCES, REFERRING.field("candidate_ids"),
    ])  # fmt: skip
    writes = DENIAL_EVIDENCE

    def __init__(self, rules: DenialRules, resources: Resources) -> None:
        self._rules = rules
        self.resources = resources

    def identity(self) -> Mapping[str, Any]:
        return {**asdict(self._rules), "vocabulary": list(self._rules.vocabulary)}

    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        return [self._check(row) for row in rows]

    def _check(self, row: Row) -> Outcome:
        denial, found = find_denial(row["expression"]), _placed(row["instances"])
        assert isinstance(denial, Denial), "select_negated_expression keeps nothing else"
        target = found[row["referred_id"]]
        same = [one for one in found.values() if one.category == target.category and not one.crowd]
        denied = [c for c in self._rules.vocabulary if any(denies_category(thing, c) for thing in denial.things)]
        if denial.subject and target.category in denied:
            denied = []  # "the dog is not visible" speaks of the referent itself

        def contradicted(one: Placed) -> bool:
            there = any(o.category in denied and o.id != one.id and self._is_at(o.box, one.box) for o in found.values())
            return there or (denial.side is not None and _is_outermost(one, same, denial.side))

        checked = bool(denied) or denial.side is not None
        if checked and contradicted(target):
            return Reject("contradicts_annotations", keep={"denial_checked": True})
        negatives = [found[i] for i in row["candidate_ids"] if i != target.id]
        return {
            "denial_checked": checked,
            "all_negatives_fail": True if checked and all(contradicted(one) for one in negatives) else None,
        }

    def _is_at(self, thing: Box, candidate: Box) -> bool:
        return intersection(thing, grown(candidate, self._rules.margin)) > self._rules.min_share * area(thing)


def _is_outermost(one: Placed, same: Sequence[Placed], side: Side) -> bool:
    """Whether no other object of the category lies farther to that side, by the centres of the boxes."""
    axis = 0 if side in ("left", "right") else 1
    sign = -1 if side in ("left", "top") else 1
    centres = {other.id: sign * (other.box[axis] + other.box[axis + 2] / 2) for other in same}
    return centres[one.id] >= max(centres.values())


@dataclass(frozen=True, slots=True)
class Placed:
    """An annotated object with a usable box."""

    id: str
    category: str
    box: Box
    crowd: bool


def _placed(instances: Sequence[Mapping[str, Any]]) -> dict[str, Placed]:
    """Objects by id, those without a usable box left out: nothing can be said of where they are."""
    found = [(i["id"], i["category"], as_box(i["box_xywh_px"]), bool(i["crowd"])) for i in instances]
    return {id_: Placed(id_, category, box, crowd) for id_, category, box, crowd in found if box is not None}
