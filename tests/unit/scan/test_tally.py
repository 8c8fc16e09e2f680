"""A tally of whole columns equals one that looks at every caption alone: counts, words of the list, examples."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from negscale.scan.analysis import analyse_slowly
from negscale.scan.ranks import ranks_of
from negscale.scan.resolver import Resolver
from negscale.scan.tally import Tally
from tests.unit.scan.test_analysis import CAPTIONS

EXAMPLES, SEED = 2, 7
MADE = st.lists(CAPTIONS.filter(bool), min_size=1, max_size=30)


def plainly(captions: list[str], word_list_only: bool) -> dict[str, Any]:
    """What `Tally` should say, by the slow analysis of one caption after the other."""
    counts, cue_captions, cue_tokens = Counter[str](), Counter[str](), Counter[str]()
    with_cue: dict[str, set[str]] = defaultdict(set)
    for caption in captions:
        found = analyse_slowly(caption)
        counts["listed_captions"] += bool(found.listed)
        counts["listed_tokens"] += len(found.listed)
        named = [(hit.group, hit.name) for hit in found.hits] + [("look-alike", name) for name in found.look_alikes]
        if word_list_only:
            named = [("listed", word) for word in found.listed]
        else:
            groups = Counter(group for group, _ in named)
            counts["explicit_captions"] += bool(groups["explicit"])
            counts["explicit_tokens"] += groups["explicit"]
            counts["implicit_captions"] += bool(groups["implicit"])
            counts["implicit_only_captions"] += bool(groups["implicit"]) and not groups["explicit"]
            counts["implicit_cues"] += groups["implicit"]
            counts["look_alike_captions"] += bool(groups["look-alike"]) and not groups["explicit"]
            counts["double_negation_captions"] += found.cancelled > 0
        for key, times in Counter(f"{group}/{name}" for group, name in named).items():
            cue_captions[key] += 1
            cue_tokens[key] += times
            with_cue[key].add(caption)
    return {
        "counts": +counts, "cue_captions": cue_captions, "cue_tokens": cue_tokens,
        "examples": {key: sorted(found, key=rank)[:EXAMPLES] for key, found in with_cue.items()},
    }  # fmt: skip


def rank(caption: str) -> int:
    return int(ranks_of(pa.array([caption]), SEED)[0])


def test_ranks_are_uniform_and_of_the_text_alone() -> None:
    captions = [f"{word} {number}" for number in range(4000) for word in ("a dog", "god a", "no")] + ["", "\0", "\0\0"]
    ranks = ranks_of(pa.array(captions), SEED)
    assert len(set(ranks.tolist())) == len(captions)
    shares = np.bincount((ranks >> np.uint64(52)).astype(int), minlength=16) / len(captions)
    assert abs(shares - 1 / 16).max() < 0.01
    pieces = pa.array(["longer ones before", *captions]).slice(1)
    assert (ranks_of(pieces, SEED) == ranks).all()
    assert [rank(caption) for caption in captions[-3:]] == ranks[-3:].tolist()
    assert (ranks_of(pa.array(captions[:-3]), SEED + 1) != ranks[:-3]).all()


def by_columns(captions: list[str], word_list_only: bool, rows: int) -> dict[str, Any]:
    tally = Tally(EXAMPLES, SEED, word_list_only)
    for at in range(0, len(captions), rows):
        tally.add(pa.array(captions[at : at + rows]), lambda number, at=at: str(at + number))
    for found in tally.examples.values():
        assert all(captions[int(where)].startswith(shown) for _, shown, where in found)
    counts = Counter({name: n for name, n in tally.counts.items() if name not in ("captions", "words")})
    return {
        "counts": +counts, "cue_captions": tally.cue_captions, "cue_tokens": tally.cue_tokens,
        "examples": {
            key: [captions[int(where)] for _, _, where in found] for key, found in tally.examples.items()
        },
    }  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(MADE, st.booleans(), st.integers(1, 30))
def test_made_captions(captions: list[str], word_list_only: bool, rows: int) -> None:
    assert by_columns(captions, word_list_only, rows) == plainly(captions, word_list_only)


@pytest.mark.real_data
@pytest.mark.parametrize("word_list_only", [False, True])
def test_all_alt_texts(shared_data: Path, word_list_only: bool) -> None:
    with (shared_data / "text" / "cc3m_val.tsv").open() as file:
        captions = [line.partition("\t")[0] for line in file]
    assert by_columns(captions, word_list_only, 5000) == plainly(captions, word_list_only)


@pytest.mark.real_data
def test_few_candidates_need_python(shared_data: Path) -> None:
    with (shared_data / "text" / "cc3m_val.tsv").open() as file:
        captions = [caption for line in file if analyse_slowly(caption := line.partition("\t")[0]).hits]
    asked = len(Resolver().resolve(pa.array(captions)).ask)
    assert 0 < asked < 0.1 * len(captions)


@pytest.mark.parametrize(
    ("caption", "name"),
    [
        ("a man WITHOUT a hat", "without"), ("no one", "no one"), ("nowhere to be seen", "nowhere"), ("an empty bench", "empty"),
        ("leafless trees", "-less"), ("a sugar-free cake", "-free"), ("a dog, free of fleas", "free of"), ("free beer", ""),
        ("not only dogs", "not only"), ("without a doubt", "without a doubt"), ("half-empty", ""),
        ("a non-existent dog", "non-existent"),
    ],
)  # fmt: skip
def test_answered_without_python(caption: str, name: str) -> None:
    resolver = Resolver()
    resolved = resolver.resolve(pa.array([caption]))
    assert [resolver.findings[number].name for number in resolved.numbers] == [name] * bool(name)
    assert not len(resolved.ask)


def test_several_cues_are_answered_without_python() -> None:
    resolver = Resolver()
    captions = ["no cat, no dog and never a leafless tree", "a dog", "an empty street without cars", "not a hat"]
    resolved = resolver.resolve(pa.array(captions))
    found = [(row, resolver.findings[number].name) for row, number in zip(resolved.rows, resolved.numbers, strict=True)]
    assert found == [
        (0, "no"), (0, "no"), (0, "never"), (0, "-less"), (2, "empty"), (2, "without"), (3, "not"),
    ]  # fmt: skip
    assert not len(resolved.ask)


@pytest.mark.parametrize(
    "caption",
    [
        "it isn't red", "no 7", "no. 7", "no  one", "7no", "nobody's", "4th-no-one", "or not", "a no parking sign", "no\tone",
        "a do not enter sign", "last but not least", "not without a hat", "w / o",
        "nothing there, except a dog", "in the absence of cars",
        "the não hat without a hat", "you cannot help but smile",
    ],
)  # fmt: skip
def test_left_to_the_analysis(caption: str) -> None:
    resolved = Resolver().resolve(pa.array([caption]))
    assert (resolved.ask.tolist(), len(resolved.rows)) == ([0], 0)
