"""What counts as a negation, by name; the fast analysis against the slow one; the prefilter loses nothing."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from negscale.core.arrow import compute as pc
from negscale.language.cues import CUES, PSEUDO_CUES
from negscale.scan import prefilter
from negscale.scan.analysis import Analysis, analyse, analyse_slowly
from negscale.scan.prefilter import CUED, LISTED, candidates

PYTHON_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
PIECES = st.sampled_from([
    *{word for cue in CUES for word in cue.words}, *{word for phrase in PSEUDO_CUES for word in phrase},
    "a", "dog", "hat", "in", "the", "1", "25th", "sign", "leafless", "unpaved", "gluten-free", "wireless", "under", "isn't",
    "can’t", "CANNOT", "w/o", "No", ".", ",", "_", "é", "NO‑ONE", "parking", "\u00a0", "ſans", "is", "red", "İ",
])  # fmt: skip
CAPTIONS = st.lists(st.tuples(PIECES, st.sampled_from([" ", "", "  ", "\u2009", "-"])), max_size=9).map(
    lambda pieces: "".join(word + space for word, space in pieces)
)


def names(caption: str) -> list[str]:
    return [hit.name for hit in analyse(caption).hits]


@pytest.mark.parametrize(
    ("caption", "explicit", "implicit"),
    [
        ("a man without a hat and no shoes", ["without", "no"], []),
        ("It isn't here, nobody is", ["n't", "nobody"], []),
        ("neither a cat nor a dog", ["neither", "nor"], []),
        ("an empty street, devoid of cars", [], ["empty", "devoid of"]),
        ("leafless trees on an unpaved road, dust-free", [], ["-less", "un-", "-free"]),
        ("a wireless phone under the unique table", [], []),
        ("no-one and noone and no one", ["no one", "no one", "no one"], []),
    ],
)
def test_names_and_groups(caption: str, explicit: list[str], implicit: list[str]) -> None:
    found = analyse(caption).hits
    assert [hit.name for hit in found if hit.group == "explicit"] == explicit
    assert [hit.name for hit in found if hit.group == "implicit"] == implicit


@pytest.mark.parametrize(
    ("caption", "look_alike"),
    [
        ("a no parking sign", "no parking sign"), ("bus no. 42", "no. #"), ("not only dogs", "not only"),
        ("nothing but sand", "nothing but"), ("platform no 7", "no #"),
    ],
)  # fmt: skip
def test_look_alikes_are_no_negation(caption: str, look_alike: str) -> None:
    found = analyse(caption)
    assert (found.hits, found.look_alikes) == ((), (look_alike,))
    assert found.listed, "the word list counts it all the same"


def test_double_negation_cancels() -> None:
    found = analyse("the man is not without a hat")
    assert (found.hits, found.cancelled) == ((), 2)
    assert found.listed == ("not", "without")


@settings(max_examples=400, deadline=None)
@given(CAPTIONS)
def test_fast_equals_slow_and_prefilter_passes_it(caption: str) -> None:
    slow = analyse_slowly(caption)
    assert analyse(caption) == slow
    column = pa.array([caption])
    assert slow == Analysis() or len(candidates(column, CUED)[1]) == 1
    assert not slow.listed or len(candidates(column, LISTED)[1]) == 1


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(CAPTIONS, st.text(max_size=20)), max_size=12), st.integers(0, 3))
def test_words_are_counted_caption_by_caption(captions: list[str], skip: int) -> None:
    captions = [text.encode("utf-8", "ignore").decode() for text in captions]
    # scripts whose digits Python's \w and RE2's \pN class alike; marks are left to the property's own alphabet
    captions = [text for text in captions if text.isascii() or not re.search(r"[^\x00-\u024f\u2000-\u206f]", text)]
    wanted = sum(len(PYTHON_WORD.findall(text)) for text in captions[skip:])
    column = pa.array(captions, pa.string()).slice(skip)
    assert candidates(column, CUED)[0] == candidates(column, LISTED)[0] == wanted


ASCII = st.lists(st.one_of(CAPTIONS, st.text("noNtw/'`- uselfr9_,.\n", max_size=24)).filter(str.isascii), max_size=30)


@settings(max_examples=400, deadline=None)
@given(ASCII, st.integers(0, 3), st.booleans())
def test_the_automaton_passes_what_the_expression_matches(captions: list[str], skip: int, wide: bool) -> None:
    column = pa.array(captions, pa.large_string() if wide else pa.string()).slice(skip)
    for wanted in (CUED, LISTED):
        matches = pc.match_substring_regex(column, pattern=wanted.text, ignore_case=True).to_pylist()
        passed = set(candidates(column, wanted)[1].tolist())
        more = passed - {row for row, matched in enumerate(matches) if matched}
        assert all(row in passed for row, matched in enumerate(matches) if matched)
        assert all(re.search("un|less|free", captions[skip + row], re.IGNORECASE) for row in more), "affixes alone"
        assert wanted is CUED or not more


def test_few_captions_beyond_ascii_are_answered_as_many_are(monkeypatch: pytest.MonkeyPatch) -> None:
    marks = [
        "isn\u2019t", "can\u00b4t", "no\u2011one", "\u017fans chien", "no\u00a0one", "não", "nó", "leafle\u017f\u017f",
        "Ñno", "noñ",
    ]  # fmt: skip
    column = pa.array([f"{mark} é" for mark in marks])
    few = [candidates(column, wanted) for wanted in (CUED, LISTED)]
    monkeypatch.setattr(prefilter, "_MANY", 0)
    for (words, rows), wanted in zip(few, (CUED, LISTED), strict=True):
        many = candidates(column, wanted)
        assert (words, rows.tolist()) == (many[0], many[1].tolist())


@pytest.mark.real_data
def test_alt_texts_one_by_one(shared_data: Path) -> None:
    with (shared_data / "text" / "cc3m_val.tsv").open(newline="") as file:
        captions = [row[0] for row in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)][:4000]
    column = pa.array(captions)
    words, rows = candidates(column, CUED)
    passed = set(rows.tolist())
    for number, caption in enumerate(captions):
        slow = analyse_slowly(caption)
        assert analyse(caption) == slow
        assert number in passed or slow == Analysis(), caption
    assert len(passed) < 0.06 * len(captions), "the prefilter leaves few captions"
    assert words == sum(len(PYTHON_WORD.findall(text)) for text in captions)
