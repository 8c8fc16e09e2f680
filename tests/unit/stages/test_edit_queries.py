from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from negscale.backends.control_editor import ControlEditorConfig, Rule
from negscale.backends.image_store import ImageStoreConfig
from negscale.core.backend import Edit, EditRequest
from negscale.core.stage import Fault, Reject, Resources
from negscale.datasets.images import ImageReader
from negscale.stages.edit_queries import (
    KINDS,
    ChooseSplit,
    EditForEvaluation,
    ListCaptionObjects,
    PlanEditQueries,
    queries_of,
)
from tests.unit.stages.edit_rows import Pictures, picture, queries, row

TRUTH, INPUT = picture("dog"), picture("dog", "cat")


def edited(tmp_path: Path, editor: Any, rows: Sequence[dict[str, Any]], call_rows: int = 32) -> list[Any]:
    """The outcomes, with pixels in place of the stored reference."""
    store = ImageStoreConfig().build(str(tmp_path))
    images = Pictures(truth=TRUTH, input=INPUT)
    stage = EditForEvaluation(lambda: editor, lambda: store, images, images, 0, call_rows, Resources())
    stage.setup()
    outcomes: list[Any] = list(stage.process(rows))
    stage.close()
    reader = ImageReader(str(tmp_path))
    return [o if isinstance(o, Fault) else {**o, "edited_image": reader.read(o["edited_image"])} for o in outcomes]


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        ("unchanged", [INPUT, INPUT, INPUT, INPUT]),
        ("perfect", [TRUTH, INPUT, INPUT, TRUTH]),
        ("always_remove", [TRUTH, TRUTH, TRUTH, TRUTH]),
    ],
)
def test_control_editors_answer_by_their_rule(tmp_path: Path, rule: Rule, wanted: list[np.ndarray]) -> None:
    outcomes = edited(tmp_path, ControlEditorConfig(rule=rule).build(), queries(row(), KINDS))
    for outcome, pixels in zip(outcomes, wanted, strict=True):
        assert np.array_equal(outcome["edited_image"], pixels)
    assert len({outcome["evaluation_seed"] for outcome in outcomes}) == 4


def test_noise_depends_on_the_row_alone(tmp_path: Path) -> None:
    editor, rows = ControlEditorConfig(rule="noise").build(), queries(row(), KINDS)
    together = edited(tmp_path / "a", editor, rows)
    apart = [edited(tmp_path / f"b{n}", editor, [one])[0] for n, one in enumerate(rows)]
    for one, other in zip(together, apart, strict=True):
        assert np.array_equal(one["edited_image"], other["edited_image"])
    assert not np.array_equal(together[0]["edited_image"], together[1]["edited_image"])


class Halving:
    """Refuses one request, notes its calls."""

    exact, id = True, "test/halving@1"

    def __init__(self) -> None:
        self.calls: list[int] = []

    def load(self) -> None: ...

    def close(self) -> None: ...

    def edit(self, requests: Sequence[EditRequest]) -> list[Edit | Fault]:
        self.calls.append(len(requests))
        return [
            Fault("out_of_memory", "no room", True) if "car" in r.instruction else Edit(r.image, None, len(requests))
            for r in requests
        ]


def test_what_the_editor_cannot_make_is_a_fault_and_its_neighbours_stay(tmp_path: Path) -> None:
    editor = Halving()
    broken = queries(row("b#0", image_with_object={"uri": "gone"}), ["negative"])
    rows = [*queries(row(), KINDS), *broken, *queries(row("c#0"), KINDS)]
    outcomes = edited(tmp_path, editor, rows, call_rows=3)
    kinds = [o.kind if isinstance(o, Fault) else o["evaluation_batch"] for o in outcomes]
    assert kinds == [3, 3, "out_of_memory", 2, "missing_image", 2, 3, "out_of_memory", 3]
    assert editor.calls == [3, 2, 3]


def test_one_query_an_instruction_that_is_there() -> None:
    stage = PlanEditQueries(KINDS, Resources())
    assert set(stage.reads.names) >= {"negative_instruction", "two_objects_instruction", "kept_absent_object"}
    full, poor = stage.process([row(), row(keep_instruction=None, two_objects_instruction=None)])
    assert isinstance(full, dict)
    assert isinstance(poor, dict)
    assert [query["kind"] for query in full["edit_queries"]] == list(KINDS)
    assert full["edit_queries"][2] == {
        "kind": "keep", "instruction": "There is no car.", "named_object": "car",
    }  # fmt: skip
    assert [query["kind"] for query in poor["edit_queries"]] == ["negative", "affirmative"]
    assert "keep_instruction" not in PlanEditQueries(["negative"], Resources()).reads.names
    assert queries_of({"negative_instruction": "There is no cat."}) == [
        {"kind": "negative", "instruction": "There is no cat.", "named_object": None}
    ]


def test_objects_of_the_caption_and_rows_of_the_split() -> None:
    listed = ListCaptionObjects("compound", ("park",), Resources()).process([row(), row(caption=None)])
    assert listed == [{"caption_objects": ["dog"]}, {"caption_objects": []}]
    chosen = ChooseSplit("eval", Resources()).process([row(), row(split="train"), row(split=None)])
    assert chosen == [{}, Reject("other_split"), Reject("other_split")]
