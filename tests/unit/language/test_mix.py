"""Negation mix: counts per form and position."""

from __future__ import annotations

from negscale.language.cues import FORMS
from negscale.language.mix import negation_mix

CAPTIONS = [
    "no dog lies on the old green couch",
    "a man rides a horse in a field without a hat",
    "a boy who is not wearing shoes on a beach",
    "an unoccupied bench and a leafless tree",
    "a man and a dog",
]


def test_counts() -> None:
    mix = negation_mix(iter(CAPTIONS))
    assert (mix.num_captions, mix.num_negated, mix.num_negations) == (5, 4, 5)
    assert mix.by_form() == {**dict.fromkeys(FORMS, 0), "no": 1, "without": 1, "not": 1, "lexical": 1, "affix": 1}
    assert mix.by_position() == {"early": 2, "middle": 1, "late": 2}
    assert mix.counts["without"] == {"early": 0, "middle": 0, "late": 1}


def test_table_ends_with_the_total() -> None:
    rows = negation_mix(CAPTIONS).rows()
    assert [row[0] for row in rows] == [*FORMS, "total"]
    assert rows[-1] == ("total", 2, 1, 2, 5, 1.0)
    assert abs(sum(row[5] for row in rows[:-1]) - 1.0) < 1e-9


def test_no_captions() -> None:
    mix = negation_mix([])
    assert (mix.num_captions, mix.num_negations) == (0, 0)
    assert mix.rows()[-1] == ("total", 0, 0, 0, 0, 0.0)
