"""Counts of a scan: added to batch by batch, merged over units in any order, the same in the end.

Examples are a reservoir by hash: of all distinct captions with a cue, those whose (seed, caption) hashes least. So they
are a uniform sample that does not depend on the order, the number of processes, or on what was resumed.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from operator import itemgetter
from typing import Any

import numpy as np
import pyarrow as pa

from negscale.scan.analysis import analyse, listed_words
from negscale.scan.prefilter import CUED, LISTED, candidates
from negscale.scan.ranks import BITS as RANK_BITS
from negscale.scan.ranks import least, ranks_of
from negscale.scan.resolver import Finding, Resolved, Resolver

COUNTS = (
    "captions", "words", "explicit_captions", "explicit_tokens", "implicit_captions", "implicit_only_captions",
    "implicit_cues", "listed_captions", "listed_tokens", "look_alike_captions", "double_negation_captions",
)  # fmt: skip
Example = tuple[int, str, str]  # (hash, caption, where it stands)
Offer = tuple[int, str, int, str]  # (place among the candidates, cue, hash, caption)
_SHOWN_CHARACTERS = 400
_GROUPS = ("explicit", "implicit", "look-alike")
_resolver = lru_cache(Resolver)  # what one batch learned, the next ones know


@dataclass(slots=True)
class Tally:
    """What was found so far. ``unread`` counts what is no caption, by kind: null, not_utf8, malformed."""

    examples_per_cue: int = 5
    seed: int = 0
    word_list_only: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    unread: Counter[str] = field(default_factory=Counter)
    cue_captions: Counter[str] = field(default_factory=Counter)  # captions with the cue
    cue_tokens: Counter[str] = field(default_factory=Counter)  # times that it occurs
    groups: dict[str, str] = field(default_factory=dict)  # cue -> explicit, implicit, look-alike, listed
    examples: dict[str, list[Example]] = field(default_factory=dict)

    def add(self, captions: pa.Array, where: Callable[[int], str]) -> None:
        """Count string[N] without nulls; `where` names the caption at an index, for the examples."""
        self.counts["captions"] += len(captions)
        words, numbers = candidates(captions, LISTED if self.word_list_only else CUED)
        self.counts["words"] += words
        found = captions.take(pa.array(numbers))
        resolver = _resolver(self.word_list_only)
        resolved = resolver.resolve(found)
        self._count_resolved(resolved, resolver.findings)
        offers: list[Offer] = []
        ranks = ranks_of(found, self.seed) if self.examples_per_cue else np.zeros(len(found), np.uint64)
        if self.examples_per_cue:
            self._offer_resolved(found, resolved, ranks, resolver.findings, offers)
        add_one = self._add_listed if self.word_list_only else self._add_one
        asked = found.take(pa.array(resolved.ask)).to_pylist()
        for place, rank, caption in zip(resolved.ask.tolist(), ranks[resolved.ask].tolist(), asked, strict=True):
            add_one(caption, place, rank, offers)
        self._keep(offers, numbers, where)

    def _count_resolved(self, resolved: Resolved, findings: Sequence[Finding]) -> None:
        rows, numbers, counts = resolved.rows, resolved.numbers, self.counts
        for number, count in zip(*np.unique(numbers, return_counts=True), strict=True):
            self.cue_tokens[_key(findings[number])] += int(count)
            self.groups[_key(findings[number])] = findings[number].group
        keys = [_key(finding) for finding in findings]
        first = np.array([keys.index(key) for key in keys])  # findings that differ in their words only are one cue
        pairs = np.unique(rows * len(keys) + first[numbers]) % len(keys)
        for number, count in zip(*np.unique(pairs, return_counts=True), strict=True):
            self.cue_captions[keys[number]] += int(count)
        of = {name: np.array([finding.group == name for finding in findings])[numbers] for name in _GROUPS}
        listed = np.array([finding.listed for finding in findings])[numbers]
        counts["listed_captions"] += _distinct(rows[listed])
        counts["listed_tokens"] += int(np.count_nonzero(listed))
        counts["explicit_captions"] += _distinct(rows[of["explicit"]])
        counts["explicit_tokens"] += int(np.count_nonzero(of["explicit"]))
        counts["implicit_captions"] += _distinct(rows[of["implicit"]])
        counts["implicit_cues"] += int(np.count_nonzero(of["implicit"]))
        openly = np.isin(rows, rows[of["explicit"]])
        counts["implicit_only_captions"] += _distinct(rows[of["implicit"] & ~openly])
        counts["look_alike_captions"] += _distinct(rows[of["look-alike"] & ~openly])

    def _offer_resolved(
        self, found: pa.Array, resolved: Resolved, ranks: np.ndarray, findings: Sequence[Finding], offers: list[Offer]
    ) -> None:
        """Offers what may be among a cue's examples."""
        best = least(ranks[resolved.rows], resolved.numbers, self.examples_per_cue)
        places, numbers = resolved.rows[best], resolved.numbers[best]
        texts = found.take(pa.array(places)).to_pylist()
        for place, number, rank, text in zip(
            places.tolist(), numbers.tolist(), ranks[places].tolist(), texts, strict=True
        ):
            key = _key(findings[number])
            if rank < self._worst(key):
                offers.append((place, key, rank, text))

    def _worst(self, key: str) -> int:
        """The largest hash among a cue's examples; where there is room, one that is larger than any."""
        kept = self.examples.get(key, [])
        return kept[-1][0] if len(kept) >= self.examples_per_cue else 1 << RANK_BITS

    def _add_listed(self, caption: str, place: int, rank: int, offers: list[Offer]) -> None:
        if listed := listed_words(caption):
            self.counts["listed_captions"] += 1
            self.counts["listed_tokens"] += len(listed)
            self._count("listed", listed, caption, place, rank, offers)

    def _add_one(self, caption: str, place: int, rank: int, offers: list[Offer]) -> None:
        found, counts = analyse(caption), self.counts
        if found.listed:
            counts["listed_captions"] += 1
            counts["listed_tokens"] += len(found.listed)
        explicit = [hit.name for hit in found.hits if hit.group == "explicit"]
        implicit = [hit.name for hit in found.hits if hit.group == "implicit"]
        if explicit:
            counts["explicit_captions"] += 1
            counts["explicit_tokens"] += len(explicit)
            self._count("explicit", explicit, caption, place, rank, offers)
        if implicit:
            counts["implicit_captions"] += 1
            counts["implicit_only_captions"] += not explicit
            counts["implicit_cues"] += len(implicit)
            self._count("implicit", implicit, caption, place, rank, offers)
        if found.look_alikes:
            counts["look_alike_captions"] += not explicit
            self._count("look-alike", found.look_alikes, caption, place, rank, offers)
        counts["double_negation_captions"] += found.cancelled > 0

    def _count(
        self, group: str, names: Sequence[str], caption: str, place: int, rank: int, offers: list[Offer]
    ) -> None:
        for name in dict.fromkeys(names):
            key = f"{group}/{name}"
            self.cue_captions[key] += 1
            self.cue_tokens[key] += names.count(name)
            self.groups[key] = group
            if self.examples_per_cue:
                offers.append((place, key, rank, caption))

    def _keep(self, offers: list[Offer], numbers: np.ndarray, where: Callable[[int], str]) -> None:
        """Of each cue's examples and of what a batch offers, those that hash least."""
        best: dict[str, list[Example]] = {}
        for place, key, rank, caption in sorted(offers, key=itemgetter(2)):
            found = best.setdefault(key, [])
            again = bool(found) and found[-1][0] == rank  # the same caption elsewhere
            if again or len(found) < self.examples_per_cue:
                example = (rank, caption[:_SHOWN_CHARACTERS], where(int(numbers[place])))
                if again:
                    found[-1] = min(found[-1], example)
                else:
                    found.append(example)
        for key, found in best.items():
            self.examples[key] = _least([*self.examples.get(key, ()), *found], self.examples_per_cue)

    def merge(self, other: Tally) -> None:
        """Add another tally of the same options."""
        for name in ("counts", "unread", "cue_captions", "cue_tokens"):
            getattr(self, name).update(getattr(other, name))
        self.groups.update(other.groups)
        for key, found in other.examples.items():
            self.examples[key] = _least([*self.examples.get(key, ()), *found], self.examples_per_cue)

    def to_json(self) -> dict[str, Any]:
        """JSON values that `from_json` reads back."""
        return {
            "counts": dict(self.counts), "unread": dict(self.unread), "cue_captions": dict(self.cue_captions),
            "cue_tokens": dict(self.cue_tokens), "groups": self.groups, "examples": self.examples,
        }  # fmt: skip

    def read_json(self, content: Mapping[str, Any]) -> Tally:
        """Take over the counts of `to_json`; returns itself."""
        for name in ("counts", "unread", "cue_captions", "cue_tokens"):
            getattr(self, name).update(content[name])
        self.groups.update(content["groups"])
        self.examples = {key: [(e[0], e[1], e[2]) for e in found] for key, found in content["examples"].items()}
        return self


def _distinct(ascending: np.ndarray) -> int:
    return int(np.count_nonzero(np.diff(ascending, prepend=-1)))


def _key(finding: Finding) -> str:
    return f"{finding.group}/{finding.name}"


def _least(examples: list[Example], count: int) -> list[Example]:
    """The `count` distinct captions that hash least; of equal ones the first by place."""
    return heapq.nsmallest(count, {e[0]: e for e in sorted(examples, reverse=True)}.values())
