"""apply_stage: one outcome per row, faults found by halving, refused rows untouched, ill models stopped."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyarrow as pa
import pytest

from negscale.core.errors import FatalError, IllModelError
from negscale.core.explode import Explode, apply_explode
from negscale.core.pipeline import conform
from negscale.core.schema import ENVELOPE, extend
from negscale.core.stage import Fault, Outcome, Reject, Resources, Row, Stage, apply_stage


class Each(Stage):
    name = "each"
    reads = pa.schema([("x", pa.int64())])
    writes = pa.schema([("y", pa.int64()), ("note", pa.string())])
    resources = Resources(batch_rows=8)

    def __init__(self, one: Callable[[Row], Outcome]) -> None:
        self.one = one
        self.batches: list[int] = []

    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        self.batches.append(len(rows))
        return [self.one(row) for row in rows]


def table(n: int) -> pa.Table:
    schema = extend(ENVELOPE, pa.schema([("x", pa.int64())]))
    return conform(pa.table({"id": [f"r{i:02d}" for i in range(n)], "x": pa.array(range(n), pa.int64())}), schema)


def test_outcomes_become_columns_rejections_and_faults() -> None:
    def one(row: Row) -> Outcome:
        if row["x"] == 1:
            return Reject("odd", keep={"note": "seen"})
        return Fault("bad", "broke", retryable=True) if row["x"] == 2 else {"y": row["x"] * 2, "note": None}

    out = apply_stage(Each(one), table(4))
    assert out["y"].to_pylist() == [0, None, None, 6]
    assert out["note"].to_pylist() == [None, "seen", None, None]
    assert out["rejection"].to_pylist()[1] == {"stage": "each", "reason": "odd"}
    assert out["quarantine"].to_pylist()[2] == {"stage": "each", "kind": "bad", "message": "broke", "retryable": True}
    again = apply_stage(Each(lambda row: {"y": -1, "note": "n"}), out)
    assert again["y"].to_pylist() == [-1, None, None, -1], "refused and faulty rows pass later stages untouched"


def test_an_exception_costs_its_row_only() -> None:
    def one(row: Row) -> Outcome:
        if row["x"] == 5:
            raise ZeroDivisionError("five")
        return {"y": 1, "note": ""}

    stage = Each(one)
    out = apply_stage(stage, table(20))
    faults = [q for q in out["quarantine"].to_pylist() if q]
    assert [(q["kind"], q["message"]) for q in faults] == [("ZeroDivisionError", "five")]
    assert out["y"].null_count == 1
    assert max(stage.batches) == 8


def test_a_value_that_does_not_fit_its_column_costs_its_row_only() -> None:
    out = apply_stage(Each(lambda row: {"y": "text" if row["x"] == 3 else 1, "note": ""}), table(10))
    assert [i for i, q in enumerate(out["quarantine"].to_pylist()) if q] == [3]


def test_a_fatal_error_is_not_swallowed() -> None:
    def one(row: Row) -> Outcome:
        raise FatalError("engine is gone")

    with pytest.raises(FatalError):
        apply_stage(Each(one), table(4))


def test_rows_that_all_break_alike_blame_the_model() -> None:
    with pytest.raises(IllModelError, match=r"'each': all 16 rows .* \(no_weights: .*mend them"):
        apply_stage(Each(lambda row: Fault("no_weights", "file gone")), table(16))
    assert apply_stage(Each(lambda row: Fault("no_weights", "")), table(15))["quarantine"].null_count == 0
    mixed = apply_stage(Each(lambda row: Fault("a" if row["x"] else "b", "")), table(16))
    assert mixed["quarantine"].null_count == 0


def test_the_schema_does_not_depend_on_outcomes() -> None:
    kept = apply_stage(Each(lambda row: {"y": 1, "note": "n"}), table(3)).schema
    refused = apply_stage(Each(lambda row: Reject("no")), table(3)).schema
    nothing = apply_stage(Each(lambda row: {"y": 1, "note": "n"}), table(0)).schema
    assert kept == refused == nothing


def test_a_message_with_a_lone_surrogate_does_not_sink_the_row() -> None:
    out = apply_stage(Each(lambda row: Fault("bad", "\ud800")), table(1))
    assert out["quarantine"].to_pylist()[0]["message"] == "?"


def test_explode_numbers_children_and_rejects_empty_lists() -> None:
    schema = extend(ENVELOPE, pa.schema([("names", pa.list_(pa.string()))]))
    rows = conform(pa.table({"id": ["a", "b", "c"], "names": [["x", "y"], [], None]}), schema)
    out = apply_explode(Explode("names", "name"), rows)
    assert out["id"].to_pylist() == ["a#0", "a#1", "b", "c"]
    assert out["name"].to_pylist() == ["x", "y", None, None]
    assert [r and r["reason"] for r in out["rejection"].to_pylist()] == [None, None, "empty_list", "empty_list"]
