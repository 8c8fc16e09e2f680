"""Cards: what each kind of run shows as figure, headline, object, score and detail."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from negscale.core.schema import EDIT_QUERY, ENVELOPE, IMAGE, extend
from negscale.report.gallery_rows import MAX_TEXT, Names, card, layout_of
from negscale.report.gallery_sample import DrawnRow
from tests.unit.exports.pictures import OBJECTS, RETRIEVAL

KEPT = ("kept", "")
EVALUATED = extend(
    ENVELOPE,
    pa.schema([
        ("image", IMAGE), ("image_with_object", IMAGE), ("edited_image", IMAGE), ("edit_query", EDIT_QUERY), ("l1", pa.float64()),
        ("edited_features", pa.list_(pa.float32())), ("url", pa.string()),
    ]),
)  # fmt: skip


def _card(schema: pa.Schema, **columns: Any) -> tuple[dict[str, Any], list[str]]:
    row = dict.fromkeys(schema.names) | {"id": "a"} | columns
    names = Names()
    return card(DrawnRow(KEPT, row), layout_of(schema), {KEPT: 0}, names), names.texts


def test_an_evaluated_edit() -> None:
    query = {"kind": "keep", "instruction": "There is no yak.", "named_object": "yak"}
    made, names = _card(EVALUATED, edit_query=query, l1=0.12345678, edited_features=[0.5] * 2048)
    assert made == {
        "i": "a",
        "f": 0,
        "t": [[0, ["There is no yak."]]],
        "o": ["yak"],
        "s": [0.1235],
        "d": [[1, "2,048 numbers"]],
    }
    assert names == ["keep instruction", "edited_features"]
    layout = layout_of(EVALUATED)
    assert [layout.figure_label(name) for name in layout.images] == ["wanted", "input", "edit"]
    assert layout.pair == ("image_with_object", "edited_image")


def test_a_retrieval_row() -> None:
    made, names = _card(RETRIEVAL, captions=["A dog.", "No cat."], negative_objects=["cat", "car"])
    assert made["t"] == [[names.index("captions"), ["A dog.\nNo cat."]]]
    assert made["o"] == ["cat", "car"]
    assert layout_of(RETRIEVAL).kind == "captions"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None])
def test_scores_without_a_value_are_null(value: float | None) -> None:
    assert _card(EVALUATED, l1=value)[0]["s"] == [None]


def test_long_texts_say_that_they_go_on() -> None:
    made, _ = _card(EVALUATED, url="x" * 5000)
    assert len(made["t"][0][1][0]) == MAX_TEXT
    assert made["t"][0][1][0].endswith("…")


def test_rows_without_images_and_texts_are_cards_all_the_same() -> None:
    made, _ = _card(extend(ENVELOPE, OBJECTS))
    assert made == {"i": "a", "f": 0}
