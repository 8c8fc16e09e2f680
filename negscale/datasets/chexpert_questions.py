"""Binary questions on radiographs: which findings each image can be asked about, in equal numbers of either answer.

NegBench (arXiv 2501.09425, section 3) asks "This image shows X." against another finding (control) and against "This
image does not show X." (negation). What differs: "absent" means that a radiologist's report denies the finding (blank
and uncertain labels answer nothing unless told to), a finding and one that implies it are never set against each other,
and each text is right as often as it is wrong, so that text alone scores 50 %.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import pyarrow as pa

from negscale.core.pipeline import Listing, Shard
from negscale.core.rng import rng_for, seed_for
from negscale.core.schema import ENVELOPE, FINDING_QUESTION
from negscale.datasets.chexpert import ChexpertConfig, broader, read_labels
from negscale.datasets.indexed import indexed_listing, slice_of_index

TABLE = pa.schema([*ENVELOPE, *FINDING_QUESTION])


@dataclass(frozen=True, slots=True)
class QuestionRules:
    """What is asked, and what a label that is neither 1 nor 0 means."""

    findings: tuple[str, ...]
    blank: Literal["ignore", "absent"] = "ignore"
    uncertain: Literal["ignore", "present", "absent"] = "ignore"


class ChexpertQuestionsSource:
    """Rows "valid/patient64541/study1/view1_frontal/negation/edema": every question that the labels can answer.

    Those beyond the balance come with `within_balance` false, so that a stage can say so.
    """

    schema = FINDING_QUESTION

    def __init__(self, config: ChexpertConfig, rules: QuestionRules, seed: int) -> None:
        self.config, self.rules, self.seed = config, rules, seed

    def list(self) -> Listing:
        """Reads the labels once: the balance is over the whole set."""
        images, identity = read_labels(self.config)
        rows, without = question_rows(images.to_pylist(), self.rules, self.seed)
        facts = {
            **identity,
            "images_without_question": without,
            "rules": _plain(self.rules),
            "question_seed": self.seed,
        }
        return indexed_listing("chexpert-questions", rows, self.config.shard_rows, facts)

    def read(self, shard: Shard, index: pa.Table | None) -> pa.Table:
        """The shard's slice of the index."""
        return slice_of_index(shard, index)


def question_rows(images: Sequence[Mapping[str, Any]], rules: QuestionRules, seed: int) -> tuple[pa.Table, int]:
    """(questions, number of images that none can be asked about). Broken image rows come along as they are."""
    rows: list[dict[str, Any]] = []
    without = 0
    for image in images:
        if image["quarantine"] is not None:
            rows.append(_row(image, image["id"]))
            continue
        before = len(rows)
        rows += _questions(image, rules, seed)
        without += len(rows) == before
    _balance(rows, seed)
    return pa.Table.from_pylist(rows, schema=TABLE), without


def states_of(image: Mapping[str, Any], rules: QuestionRules) -> dict[str, bool]:
    """Finding -> present?, for those of `rules.findings` that the labels decide.

    A finding whose absence is claimed beside the presence of one that implies it is left out: one label is wrong.
    """
    present, absent, uncertain = set(image["present"]), set(image["absent"]), set(image["uncertain"])
    implied = {wider for finding in present for wider in broader(finding)}
    states: dict[str, bool] = {}
    for finding in rules.findings:
        if finding in present:
            states[finding] = True
        elif finding in implied:
            continue
        elif finding in absent:
            states[finding] = False
        elif (means := rules.uncertain if finding in uncertain else rules.blank) != "ignore":
            states[finding] = means == "present"
    return states


def _questions(image: Mapping[str, Any], rules: QuestionRules, seed: int) -> Iterator[dict[str, Any]]:
    states = states_of(image, rules)
    for finding, present in states.items():
        slug = finding.lower().replace(" ", "-")
        yield _row(image, f"{image['id']}/negation/{slug}", "negation", finding, None, present)
        if not present:
            continue
        others = [other for other, there in states.items() if not there and not _related(finding, other)]
        if others:
            row_id = f"{image['id']}/control/{slug}"
            other = others[int(rng_for(seed, row_id, "other_finding").integers(len(others)))]
            yield _row(image, row_id, "control", finding, other, True)


def _related(a: str, b: str) -> bool:
    return a in broader(b) or b in broader(a)


def _row(
    image: Mapping[str, Any], row_id: str, question_type: str | None = None, finding: str | None = None,
    other: str | None = None, present: bool | None = None,
) -> dict[str, Any]:  # fmt: skip
    return {
        "id": row_id, "rejection": None, "quarantine": image["quarantine"], "image": image["image"],
        "image_id": image["image_id"], "patient_id": image["patient_id"], "question_type": question_type,
        "finding": finding, "other_finding": other, "finding_present": present, "within_balance": None,
    }  # fmt: skip


def _balance(rows: Sequence[dict[str, Any]], seed: int) -> None:
    """Mark, in each group, as many questions of either right text as the rarer one has; which ones is drawn by id."""
    sides: Counter[tuple[Any, ...]] = Counter()
    asked = [row for row in rows if row["finding"] is not None]
    for row in asked:
        sides[_group(row), _right(row)] += 1
    taken: Counter[tuple[Any, ...]] = Counter()
    for row in sorted(asked, key=lambda row: seed_for(seed, row["id"], "balance")):
        group, right = _group(row), _right(row)
        quota = min(sides[group, side] for side in _sides(row))
        row["within_balance"] = taken[group, right] < quota
        taken[group, right] += 1


def _group(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The two texts of a question, whatever is right."""
    if row["question_type"] == "negation":
        return ("negation", row["finding"])
    return ("control", *sorted((row["finding"], row["other_finding"])))


def _right(row: Mapping[str, Any]) -> Any:
    return row["finding_present"] if row["question_type"] == "negation" else row["finding"]


def _sides(row: Mapping[str, Any]) -> tuple[Any, Any]:
    return (True, False) if row["question_type"] == "negation" else (row["finding"], row["other_finding"])


def _plain(rules: QuestionRules) -> dict[str, Any]:
    return {**asdict(rules), "findings": list(rules.findings)}
