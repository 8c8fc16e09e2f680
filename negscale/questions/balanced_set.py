"""A balanced set of questions with its pairs, its counts and its files."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa

from negscale.core.config import Config
from negscale.core.run import fingerprint
from negscale.language.mix import negation_mix
from negscale.questions.files import mcq_csv
from negscale.questions.lexicon import Lexicon
from negscale.questions.options import Claim, claim_of
from negscale.questions.table import Questions
from negscale.storage.folder import open_folder

VERSION = 1  # of the build; bears identity


@dataclass(frozen=True)
class Pair:
    """Two questions of a set with different answers: a 2 x 2 group for scoring.

    Caption a is true of image a and false of image b, caption b the reverse. A pair is solved when all four comparisons
    come out right, which no preference for a text and none for an image can bring about.
    """

    first: int
    second: int


@dataclass(frozen=True)
class BalancedSet:
    """Questions with their sets as groups, disjoint pairs of them, and what went in and what came out."""

    questions: Questions
    pairs: tuple[Pair, ...]
    counts: dict[str, Any]
    identity: dict[str, Any]

    @classmethod
    def of(
        cls, questions: Questions, table: pa.Table, names: Sequence[str], seed: int, options: Config, draws: int
    ) -> BalancedSet:
        """Count and pair finished questions over their table of `PRESENCE`; `draws` were made until these passed."""
        identity = {
            "build": "negmcq_balanced", "version": VERSION, "seed": seed, "options": options.identity(),
            "input_sha256": _digest(table), "images": table.num_rows, "objects": list(names),
        }  # fmt: skip
        return cls(questions, pair_up(questions), {**count(questions, table, names), "draws": draws}, identity)

    @property
    def fingerprint(self) -> str:
        """16 hex digits over inputs, seed, options and version: equal fingerprints, equal questions."""
        return fingerprint(self.identity)

    def manifest(self) -> dict[str, Any]:
        """The build's record, as JSON values."""
        data = mcq_csv(self.questions, group_column=True)
        return {
            "name": "negmcq_balanced", "fingerprint": self.fingerprint, "questions_sha256": sha256(data).hexdigest(),
            "identity": self.identity, "counts": self.counts,
        }  # fmt: skip

    def write(self, folder: str) -> None:
        """questions.csv (NegBench's columns and `group`), pairs.csv, and manifest.json, which comes last."""
        place = open_folder(folder)
        place.write("questions.csv", mcq_csv(self.questions, group_column=True))
        place.write("pairs.csv", self._pairs_csv())
        place.write("manifest.json", self.manifest_bytes())

    def manifest_bytes(self) -> bytes:
        """manifest.json."""
        return json.dumps(self.manifest(), indent=1, ensure_ascii=False).encode() + b"\n"

    def _pairs_csv(self) -> bytes:
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("group", "image_a", "image_b", "caption_a", "caption_b"))
        right, groups = self.questions.answers_text(), self.questions.groups or ()
        for pair in self.pairs:
            a, b = pair.first, pair.second
            writer.writerow((groups[a], self.questions.images[a], self.questions.images[b], right[a], right[b]))
        return text.getvalue().encode()


def pair_up(questions: Questions) -> tuple[Pair, ...]:
    """Disjoint pairs of questions of one group with different right texts; as many as each group allows."""
    right = questions.answers_text()
    by_group: dict[str, dict[str, list[int]]] = {}
    for at, group in enumerate(questions.groups or ()):
        by_group.setdefault(group, {}).setdefault(right[at], []).append(at)
    pairs: list[Pair] = []
    for group in sorted(by_group):
        heaps = by_group[group]
        while sum(map(bool, heaps.values())) > 1:  # always from the two largest: leaves as few over as can be
            first, second = sorted((text for text in heaps if heaps[text]), key=lambda t: (-len(heaps[t]), t))[:2]
            pairs.append(Pair(heaps[first].pop(), heaps[second].pop()))
    return tuple(pairs)


def count(questions: Questions, table: pa.Table, names: Sequence[str]) -> dict[str, Any]:
    """What the texts claim and how often that is true, read off the finished texts and the table."""
    lexicon = Lexicon(tuple(names))
    truth = truths(table, lexicon)
    claims = {text: claim_of(text, lexicon) for text in questions.texts}
    kinds: Counter[str] = Counter()
    right_kinds: Counter[str] = Counter()
    tally = {name: {"affirmed": [0, 0], "denied": [0, 0]} for name in names}
    shown = {lexicon.forms[name]: name for name in names}
    for at, options in enumerate(questions.options):
        there = truth[questions.images[at]]
        for slot, text in enumerate(options):
            claim = claims[text]
            kinds[claim.kind] += 1
            right_kinds[claim.kind] += slot == questions.answers[at]
            for what, found, wanted in (("affirmed", claim.affirmed, True), ("denied", claim.denied, False)):
                for name in found:
                    tally[shown[name]][what][0] += 1
                    tally[shown[name]][what][1] += there[name] is wanted
    texts = [option for options in questions.options for option in options]
    mix = negation_mix(texts)
    return {
        "questions": len(questions), "groups": len(set(questions.groups or ())), "images": len(set(questions.images)),
        "answer_types": dict(sorted(Counter(questions.types).items())),
        "answer_positions": np.bincount(questions.answers, minlength=int(questions.sizes.max())).tolist(),
        "options_by_kind": dict(sorted(kinds.items())), "right_by_kind": dict(sorted(right_kinds.items())),
        "claims_by_object": {
            name: {what: {"claims": n, "true": true} for what, (n, true) in by.items()} for name, by in tally.items()
        },
        "median_characters": median(map(len, texts)), "negated_share": mix.num_negated / len(texts),
        "cues": mix.by_form(),
    }  # fmt: skip


def truths(table: pa.Table, lexicon: Lexicon) -> dict[str, dict[str, bool]]:
    """Image path -> class -> present or not; classes in doubt are left out."""
    columns = (table[name].to_pylist() for name in ("image_path", "present", "absent"))
    return {
        path: {lexicon.forms[n]: True for n in present} | {lexicon.forms[n]: False for n in absent}
        for path, present, absent in zip(*columns, strict=True)
    }


def oracle(questions: Questions, table: pa.Table, lexicon: Lexicon) -> np.ndarray:
    """float[n, k]: 1 where an option's text, read by the claim parser, is true of its image; 0 where it is not."""
    truth = truths(table, lexicon)
    claims = {text: claim_of(text, lexicon) for text in questions.texts}
    scores = np.zeros(questions.valid.shape)
    for at, options in enumerate(questions.options):
        there = truth[questions.images[at]]
        scores[at, : len(options)] = [_holds(claims[text], there) for text in options]
    return scores


def _holds(claim: Claim, there: dict[str, bool]) -> bool:
    return all(there.get(n) is True for n in claim.affirmed) and all(there.get(n) is False for n in claim.denied)


def _digest(table: pa.Table) -> str:
    rows = json.dumps(table.select(["image_id", "image_path", "present", "absent"]).to_pylist(), ensure_ascii=True)
    return sha256(rows.encode()).hexdigest()
