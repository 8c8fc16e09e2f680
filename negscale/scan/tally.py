"""Counts of a scan: added to batch by batch, merged over units in any order, the same in the end.

Examples are a reservoir by hash: of all distinct captions with a cue, those whose (seed, caption) hashes least. So they
are a uniform sample that does not depend on the order, the number of processes, or on what was resumed.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import pyarrow as pa

from negscale.core.arrow import compute as pc
from negscale.scan.analysis import analyse, listed_words
from negscale.scan.prefilter import CUES_RE, WORD_LIST_RE, candidates, count_words

COUNTS = (
    "captions", "words", "explicit_captions", "explicit_tokens", "implicit_captions", "implicit_only_captions",
    "implicit_cues", "listed_captions", "listed_tokens", "look_alike_captions", "double_negation_captions",
)  # fmt: skip
Example = tuple[int, str, str]  # (hash, caption, where it stands)
_SHOWN_CHARACTERS = 400


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
        self.counts["words"] += count_words(captions)
        mask = candidates(captions, WORD_LIST_RE if self.word_list_only else CUES_RE)
        numbers = pc.indices_nonzero(mask)
        add_one = self._add_listed if self.word_list_only else self._add_one
        for number, caption in zip(numbers.to_pylist(), captions.take(numbers).to_pylist(), strict=True):
            add_one(caption, where, number)

    def _add_listed(self, caption: str, where: Callable[[int], str], number: int) -> None:
        if listed := listed_words(caption):
            self.counts["listed_captions"] += 1
            self.counts["listed_tokens"] += len(listed)
            self._count("listed", listed, caption, where, number)

    def _add_one(self, caption: str, where: Callable[[int], str], number: int) -> None:
        found, counts = analyse(caption), self.counts
        if found.listed:
            counts["listed_captions"] += 1
            counts["listed_tokens"] += len(found.listed)
        explicit = [hit.name for hit in found.hits if hit.group == "explicit"]
        implicit = [hit.name for hit in found.hits if hit.group == "implicit"]
        if explicit:
            counts["explicit_captions"] += 1
            counts["explicit_tokens"] += len(explicit)
            self._count("explicit", explicit, caption, where, number)
        if implicit:
            counts["implicit_captions"] += 1
            counts["implicit_only_captions"] += not explicit
            counts["implicit_cues"] += len(implicit)
            self._count("implicit", implicit, caption, where, number)
        if found.look_alikes:
            counts["look_alike_captions"] += not explicit
            self._count("look-alike", found.look_alikes, caption, where, number)
        counts["double_negation_captions"] += found.cancelled > 0

    def _count(self, group: str, names: Sequence[str], caption: str, where: Callable[[int], str], number: int) -> None:
        rank = -1
        for name in dict.fromkeys(names):
            key = f"{group}/{name}"
            self.cue_captions[key] += 1
            self.cue_tokens[key] += names.count(name)
            self.groups[key] = group
            if self.examples_per_cue:
                rank = rank if rank >= 0 else _rank(self.seed, caption)
                self._offer(key, (rank, caption, number), where)

    def _offer(self, key: str, example: tuple[int, str, int], where: Callable[[int], str]) -> None:
        kept = self.examples.setdefault(key, [])
        if len(kept) < self.examples_per_cue or example[0] < kept[-1][0]:
            found = (example[0], example[1][:_SHOWN_CHARACTERS], where(example[2]))
            self.examples[key] = _least([*kept, found], self.examples_per_cue)

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


def _rank(seed: int, caption: str) -> int:
    # as `core.rng.seed_for`, for a single key and a quarter of its cost: this runs for every candidate
    digest = blake2b(caption.encode("utf-8", "surrogatepass"), digest_size=7, key=seed.to_bytes(8, "big", signed=True))
    return int.from_bytes(digest.digest(), "big")


def _least(examples: list[Example], count: int) -> list[Example]:
    """The `count` distinct captions that hash least; of equal ones the first by place."""
    return heapq.nsmallest(count, {e[0]: e for e in sorted(examples, reverse=True)}.values())
