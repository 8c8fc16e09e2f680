"""Queries taken apart: captions of the released kinds, and that nothing is ever added."""

from __future__ import annotations

from pathlib import Path

import pytest

from negscale.language.query import Query, take_apart


@pytest.mark.parametrize(
    ("text", "affirmed", "denied"),
    [
        ("A dog and a cat.", "A dog and a cat.", ()),
        ("No car is present in this image.", "", ("car",)),
        ("A handbag is not included in this image.", "", ("handbag",)),
        ("This image features a car, but there is no spoon.", "This image features a car", ("spoon",)),
        ("A person with a cart is on a street, with no car in sight.", "A person with a cart is on a street", ("car",)),
        ("a man not wearing a hat", "a man", ("wearing a hat",)),
        ("A fork is noticeably absent.", "", ("fork",)),
        ("There are no people in the picture.", "", ("people",)),
        ("An unoccupied bench in a park.", "bench in a park", ("people",)),
        ("A kitchen with no dogs or cats.", "A kitchen", ("dogs or cats",)),
        ("a no parking sign", "a no parking sign", ()),
    ],
)
def test_parts(text: str, affirmed: str, denied: tuple[str, ...]) -> None:
    assert take_apart(text) == Query(affirmed, denied)


@pytest.mark.real_data
def test_released_captions_lose_their_cue_and_gain_nothing(shared_data: Path) -> None:
    from negscale.benchmarks.retrieval_neg import RETRIEVAL_NEG_COCO
    from negscale.language.scope import negated_spans
    from negscale.language.tokens import tokenise

    path = shared_data / "bench/negbench_coco_negated_retrieval.csv"
    texts = [text for row in RETRIEVAL_NEG_COCO.items(str(path)).items["texts"].to_pylist() for text in row]
    negated = [text for text in texts if negated_spans(text)]
    assert len(negated) > 0.95 * len(texts)
    split = [take_apart(text) for text in negated]
    assert sum(bool(query.denied) for query in split) > 0.97 * len(split)
    assert sum(bool(query.affirmed) for query in split) > 0.95 * len(split)
    for text, query in zip(negated, split, strict=True):
        assert {token.lower for token in tokenise(query.affirmed)} <= {token.lower for token in tokenise(text)} | {","}
        assert not negated_spans(query.affirmed), (text, query)
