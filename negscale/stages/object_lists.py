"""Which objects an image has and which it lacks, as lists (NegBench, arXiv 2501.09425, section 2.2, steps 1 to 3).

The authors' rows that do not have exactly five negatives pass unverified, their positives are never verified, and a
batch that breaks is dropped. Here every object of every row is verified, what the verifier cannot say is left out of the
row, and a row that breaks is quarantined with its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from negscale.core.backend import Extractor, ExtractRequest, Judge, ListValidator, Picture, ProposalRequest, Proposer
from negscale.core.schema import EXTRACTED, IMAGE, OBJECT_LISTS, PROPOSED
from negscale.core.stage import Fault, Outcome, Reject, Resources, Row, Stage, row_seed
from negscale.language.nouns import lemma, mentions, synonyms
from negscale.prompts import negbench as prompts
from negscale.stages.asking import ask_again
from negscale.stages.pixels import ReadsImages, read_pixels


class ExtractObjects(Stage):
    """List the objects that the caption (or the image's annotations) states; refuse rows with fewer than `least`."""

    name = "extract_objects"
    version = 1
    reads = pa.schema([("caption", pa.string()), ("image_id", pa.string())])
    writes = EXTRACTED

    def __init__(
        self, extractor: Callable[[], Extractor], least: int, seed: int, max_attempts: int, resources: Resources
    ) -> None:
        self._build, self._least, self._seed, self._attempts = extractor, least, seed, max_attempts
        self.resources = resources

    def identity(self) -> Mapping[str, Any]:
        return {"prompt": prompts.texts()["extract"], "least": self._least}

    def setup(self) -> None:
        self.extractor = self._build()
        self.extractor.load()

    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        def ask(open_: Sequence[int], attempt: int) -> Sequence[Outcome]:
            answers = self.extractor.extract([
                ExtractRequest(
                    rows[i]["caption"], rows[i]["image_id"], row_seed(self._seed, rows[i], self.name, attempt)
                )
                for i in open_
            ])  # fmt: skip
            return [self._outcome(answer) for answer in answers]

        return ask_again(len(rows), self._attempts, ask)

    def _outcome(self, answer: list[str] | Fault) -> Outcome:
        if isinstance(answer, Fault):
            return answer
        names = distinct(answer)
        return Reject("too_few_objects") if len(names) < self._least else {"extracted_objects": names}


class ProposeNegatives(Stage):
    """Ask for objects that go with those of the image but are not there; refuse what any caption of the image mentions.

    Up to `wanted` of them. Answers of several attempts add up, until there are enough.
    """

    name = "propose_negatives"
    version = 1
    reads = pa.schema([
        ("caption", pa.string()), ("image_captions", pa.list_(pa.string())),
        ("extracted_objects", pa.list_(pa.string())),
    ])  # fmt: skip
    writes = PROPOSED

    def __init__(
        self, proposer: Callable[[], Proposer], wanted: int, seed: int, max_attempts: int, resources: Resources
    ) -> None:
        self._build, self._wanted, self._seed, self._attempts = proposer, wanted, seed, max_attempts
        self.resources = resources

    def identity(self) -> Mapping[str, Any]:
        return {"prompt": prompts.texts()["propose"], "wanted": self._wanted}

    def setup(self) -> None:
        self.proposer = self._build()
        self.proposer.load()

    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        found: list[list[str]] = [[] for _ in rows]
        faults: list[Fault | None] = [None] * len(rows)
        for attempt in range(self._attempts):
            open_ = [i for i in range(len(rows)) if len(found[i]) < self._wanted and _may_ask(faults[i])]
            if not open_:
                break
            answers = self.proposer.propose([self._request(rows[i], attempt) for i in open_])
            for i, answer in zip(open_, answers, strict=True):
                if isinstance(answer, Fault):
                    faults[i] = answer
                else:
                    faults[i] = None
                    found[i] = self._fresh(rows[i], [*found[i], *(proposal.object for proposal in answer)])
        return [self._outcome(names, fault) for names, fault in zip(found, faults, strict=True)]

    def _request(self, row: Row, attempt: int) -> ProposalRequest:
        seed = row_seed(self._seed, row, self.name, attempt)
        present = tuple(row["extracted_objects"])
        return ProposalRequest(row["caption"], tuple(row["image_captions"]), "contextual", seed, present)

    def _fresh(self, row: Row, names: Sequence[str]) -> list[str]:
        captions = {row["caption"], *row["image_captions"]}
        present = row["extracted_objects"]
        return [
            name for name in distinct(names)
            if not any(same_thing(name, other) for other in present) and not any(mentions(c, name) for c in captions)
        ][: self._wanted]  # fmt: skip

    @staticmethod
    def _outcome(names: list[str], fault: Fault | None) -> Outcome:
        if names:
            return {"proposed_objects": names}
        return fault if fault is not None else Reject("no_candidate")


def _may_ask(fault: Fault | None) -> bool:
    return fault is None or fault.retryable


class ValidateLists(Stage):
    """Ask of each row's lists whether they are lists of objects; refuse rows where one is not (section 2.3)."""

    name = "validate_lists"
    version = 1
    reads = pa.schema([
        ("extracted_objects", pa.list_(pa.string())), ("proposed_objects", pa.list_(pa.string())),
    ])  # fmt: skip
    writes = pa.schema([])

    def __init__(
        self, validator: Callable[[], ListValidator], seed: int, max_attempts: int, resources: Resources
    ) -> None:
        self._build, self._seed, self._attempts = validator, seed, max_attempts
        self.resources = resources

    def identity(self) -> Mapping[str, Any]:
        return {"prompt": prompts.texts()["validate"]}

    def setup(self) -> None:
        self.validator = self._build()
        self.validator.load()

    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        def ask(open_: Sequence[int], attempt: int) -> Sequence[Outcome]:
            both = ("extracted_objects", "proposed_objects")
            asked = [(i, column) for i in open_ for column in both if rows[i][column]]
            seeds = [row_seed(self._seed, rows[i], self.name, column, attempt) for i, column in asked]
            answers = self.validator.validate([rows[i][column] for i, column in asked], seeds)
            outcomes: dict[int, Outcome] = {i: {} for i in open_}
            for (i, column), answer in zip(asked, answers, strict=True):
                if isinstance(answer, Fault):
                    outcomes[i] = answer
                elif answer is None and not isinstance(outcomes[i], Fault):
                    outcomes[i] = Fault("unparsable", f"expected yes or no about {rows[i][column]}", retryable=True)
                elif answer is False and not isinstance(outcomes[i], Fault):
                    outcomes[i] = Reject(f"not_objects_{column.partition('_')[0]}")
            return [outcomes[i] for i in open_]

        return ask_again(len(rows), self._attempts, ask)


class VerifyObjects(Stage):
    """Look for every object of both lists: positives must be seen, negatives must not.

    An object of which the verifier cannot tell is dropped from its list, as is one on the wrong side. A row left with
    fewer than `least_positives` or without any negative is refused; one whose image cannot be read is quarantined.
    """

    name = "verify_objects"
    version = 1
    reads = pa.schema([
        ("image", IMAGE), ("image_id", pa.string()), ("extracted_objects", pa.list_(pa.string())),
        ("proposed_objects", pa.list_(pa.string())),
    ])  # fmt: skip
    writes = OBJECT_LISTS

    def __init__(
        self, judge: Callable[[], Judge], images: ReadsImages, least_positives: int, verify_positives: bool, seed: int,
        max_attempts: int, resources: Resources,
    ) -> None:  # fmt: skip
        self._build, self._images, self._seed, self._attempts = judge, images, seed, max_attempts
        self._least, self._positives_too = least_positives, verify_positives
        self.resources = resources

    def identity(self) -> Mapping[str, Any]:
        return {"least_positives": self._least, "verify_positives": self._positives_too}

    def setup(self) -> None:
        self.judge = self._build()
        self.judge.load()

    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        pixels = read_pixels(rows, self._images) if self.judge.needs_pixels else [None] * len(rows)
        wanted = [
            (i, name)
            for i, row in enumerate(rows) if not isinstance(pixels[i], Fault)
            for name in [*(row["extracted_objects"] if self._positives_too else ()), *row["proposed_objects"]]
        ]  # fmt: skip
        seen = self._ask(rows, pixels, wanted)
        numbered = enumerate(zip(rows, pixels, strict=True))
        return [p if isinstance(p, Fault) else self._outcome(row, i, seen) for i, (row, p) in numbered]

    def _ask(
        self, rows: Sequence[Row], pixels: Sequence[Any], wanted: Sequence[tuple[int, str]]
    ) -> dict[tuple[int, str], bool | Fault | None]:
        """(row, object) -> seen, not seen, cannot tell."""
        seen: dict[tuple[int, str], bool | Fault | None] = dict.fromkeys(wanted)
        open_ = list(seen)
        for attempt in range(self._attempts):
            if not open_:
                break
            pictures = [
                Picture(pixels[i], rows[i]["image_id"], row_seed(self._seed, rows[i], self.name, name, attempt))
                for i, name in open_
            ]  # fmt: skip
            verdicts = self.judge.judge(pictures, [name for _, name in open_])
            again = []
            for key, verdict in zip(open_, verdicts, strict=True):
                seen[key] = verdict if isinstance(verdict, Fault) else verdict.accept
                if seen[key] is None or (isinstance(verdict, Fault) and verdict.retryable):
                    again.append(key)
            open_ = again
        return seen

    def _outcome(self, row: Row, i: int, seen: Mapping[tuple[int, str], bool | Fault | None]) -> Outcome:
        positives = [n for n in row["extracted_objects"] if not self._positives_too or seen[i, n] is True]
        negatives = [n for n in row["proposed_objects"] if seen[i, n] is False]
        found = {"positive_objects": positives, "negative_objects": negatives}
        answers = [seen[i, n] for n in row["proposed_objects"]]
        faults = [answer for answer in answers if isinstance(answer, Fault)]
        if not negatives and len(faults) == len(answers):
            return faults[0]  # the verifier broke; the data said nothing
        if not negatives:
            return Reject("objects_present", keep=found)
        return Reject("positives_not_seen", keep=found) if len(positives) < self._least else found


def distinct(names: Sequence[str]) -> list[str]:
    """Names in order, each thing once ("dogs" after "dog" goes); what is no name goes too."""
    kept: dict[str, str] = {}
    for name in names:
        try:
            kept.setdefault(lemma(name), name)
        except ValueError:
            continue
    return list(kept.values())


def same_thing(name: str, other: str) -> bool:
    """Whether two names name one thing: equal, plural or synonym."""
    try:
        return lemma(name) in synonyms(other)
    except ValueError:
        return name == other
