"""The editing stage with the tiny editor and its failures, and with images as the world has them."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image as Pillow

from negscale.backends.image_store import ImageStoreConfig
from negscale.backends.tiny.editor import TinyEditor, TinyEditorConfig
from negscale.backends.tiny.vision import find
from negscale.core.backend import Edit, EditRequest, Image
from negscale.core.image import decode
from negscale.core.pipeline import apply_step
from negscale.core.schema import EDITED, ENVELOPE, IMAGE
from negscale.core.stage import Fault, Reject, Resources
from negscale.datasets.images import ImageReader
from negscale.datasets.toy_icons import OBJECTS
from negscale.datasets.toy_scenes import scene
from negscale.stages.edits import EditImage, EditLimits, output_fault


def ref(uri: str) -> dict[str, Any]:
    return {"uri": uri, "offset": None, "length": None, "sha256": None, "height_px": None, "width_px": None}


def rows(count: int, edits: int = 5) -> list[dict[str, Any]]:
    made = []
    for index in range(count):
        gone = [name for name in OBJECTS if name not in scene(0, index).names]
        made += [
            {
                "id": f"toy-{index}#{k}", "image": ref(f"toyworld:0/{index}"), "image_id": f"toy-{index}",
                "add_instruction": f"Add a {name}.", "absent_object": name,
            }
            for k, name in enumerate(gone[:edits])
        ]  # fmt: skip
    return made


def stage_of(editor: Any, folder: Path, limits: EditLimits | None = None, reader: Any = None) -> EditImage:
    stage = EditImage(
        lambda: editor, partial(ImageStoreConfig().build, str(folder)), reader or ImageReader(), limits or EditLimits(), 0,
        Resources(batch_rows=1_000_000),
    )  # fmt: skip
    stage.setup()
    return stage


def run(editor: Any, folder: Path, given: list[dict[str, Any]], **limits: Any) -> list[Any]:
    stage = stage_of(editor, folder, EditLimits(**limits))
    try:
        return list(stage.process(given))
    finally:
        stage.close()


def test_edits_are_stored_and_referred_to(tmp_path: Path) -> None:
    given = rows(12)
    outcomes = run(TinyEditor(), tmp_path, given, call_rows=7)
    reader = ImageReader(str(tmp_path))
    assert len({o["image_with_object"]["uri"] for o in outcomes}) == 1  # one object a call
    for row, outcome in zip(given, outcomes, strict=True):
        assert set(outcome) == set(EDITED.names)
        assert find(reader.read(outcome["image_with_object"]), row["absent_object"]).score >= 0.5
    assert len({o["edit_seed"] for o in outcomes}) == len(given)
    assert run(TinyEditor(), tmp_path, given, call_rows=60) == outcomes  # nor does an exact editor depend on the call


def test_blank_and_nan_edits_are_made_again_with_another_seed_then_quarantined(tmp_path: Path) -> None:
    given = rows(30)
    config = {"blank": 0.3, "misbehaviour": {"malformed": 0.2}}
    editor = TinyEditor(TinyEditorConfig.model_validate(config))
    once = run(editor, tmp_path, given, max_attempts=1)
    faults = [o for o in once if isinstance(o, Fault)]
    assert {fault.kind for fault in faults} == {"blank_edit", "not_a_number"}
    assert all(fault.retryable for fault in faults)
    assert 35 < len(faults) < 100
    often = run(editor, tmp_path, given, max_attempts=8)
    assert sum(isinstance(o, Fault) for o in often) <= 4
    reader = ImageReader(str(tmp_path))
    for row, first, last in zip(given, once, often, strict=True):
        if isinstance(first, dict):  # what came out at once is not made again
            assert first["edit_seed"] == last["edit_seed"]
        if isinstance(last, dict):
            assert find(reader.read(last["image_with_object"]), row["absent_object"]).score >= 0.5


def test_memory_that_runs_out_loses_no_row(tmp_path: Path) -> None:
    outcomes = run(TinyEditor(TinyEditorConfig(micro_batch=8, fits=2)), tmp_path, rows(4))
    assert [o["edit_batch"] for o in outcomes] == [2] * 20


def test_a_row_that_raises_is_found_by_halving(tmp_path: Path) -> None:
    editor = TinyEditor(TinyEditorConfig.model_validate({"misbehaviour": {"raises": 0.05}}))
    given = rows(12)
    plain = pa.schema([*ENVELOPE, ("image", IMAGE), ("image_id", pa.string()), ("add_instruction", pa.string()),
                       ("absent_object", pa.string())])  # fmt: skip
    table = pa.Table.from_pylist([{**row, "rejection": None, "quarantine": None} for row in given], schema=plain)
    stage = stage_of(editor, tmp_path)
    done = apply_step(stage, table).to_pylist()
    stage.close()
    broken = [row for row in done if row["quarantine"]]
    assert {row["quarantine"]["kind"] for row in broken} == {"RuntimeError"}
    assert 0 < len(broken) < 12
    reader = ImageReader(str(tmp_path))
    for row in done:
        if not row["quarantine"]:
            assert find(reader.read(row["image_with_object"]), row["absent_object"]).score >= 0.5


def write(folder: Path, name: str, picture: Pillow.Image, **options: Any) -> dict[str, Any]:
    picture.save(folder / name, **options)
    return ref(name)


def test_odd_images(tmp_path: Path) -> None:
    grey = Pillow.new("L", (96, 96), 200)
    clear = Pillow.new("RGBA", (96, 96), (10, 200, 10, 0))
    given = {
        "grey": write(tmp_path, "grey.png", grey), "clear": write(tmp_path, "clear.png", clear),
        "palette": write(tmp_path, "p.gif", grey.convert("P")), "tiny": write(tmp_path, "tiny.png", grey.resize((9, 9))),
        "long": write(tmp_path, "long.png", grey.resize((500, 50))), "huge": ref("huge.png"),
        "none": ref("gone.png"), "text": ref("text.png"), "large": write(tmp_path, "large.png", grey.resize((3000, 2000))),
    }  # fmt: skip
    (tmp_path / "text.png").write_text("no image")
    write(tmp_path, "huge.png", Pillow.new("1", (10_000, 7_000)))
    asked = [
        {"id": name, "image": image, "image_id": name, "add_instruction": "Add a cat.", "absent_object": "cat"}
        for name, image in given.items()
    ]
    stage = stage_of(TinyEditor(), tmp_path / "run", reader=ImageReader(str(tmp_path)))
    found = dict(zip(given, stage.process(asked), strict=True))
    stage.close()
    made = ImageReader(str(tmp_path / "run"))
    for name in ("grey", "clear", "palette", "large"):
        outcome = found[name]
        assert isinstance(outcome, dict), outcome
        assert find(made.read(outcome["image_with_object"]), "cat").score >= 0.5
    assert found["tiny"] == Reject("image_too_small")
    assert found["long"] == Reject("image_too_long")
    kinds = {name: found[name].kind for name in ("huge", "none", "text")}  # type: ignore[union-attr]
    assert kinds == {"huge": "oversized_image", "none": "missing_image", "text": "unreadable_image"}


def test_what_shows_nothing_is_no_picture() -> None:
    black, white = np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 255, np.uint8)
    tinted = np.broadcast_to(np.array([10, 200, 30], np.uint8), (8, 8, 3))
    for image in (black, white, tinted):
        fault = output_fault(image)
        assert fault is not None
        assert (fault.kind, fault.retryable) == ("blank_edit", True)
    noisy = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)
    assert output_fault(noisy) is None
    for bad in (noisy[..., 0], noisy.astype(np.float32), noisy[:0]):
        fault = output_fault(bad)
        assert fault is not None
        assert fault.kind == "bad_edit"


class SlowEditor:
    """Notes when it works; each call takes a tenth of a second and needs no interpreter."""

    exact, id = True, "slow"

    def __init__(self) -> None:
        self.spans: list[tuple[float, float]] = []

    def load(self) -> None: ...

    def close(self) -> None: ...

    def edit(self, requests: list[EditRequest]) -> list[Edit]:
        start = time.perf_counter()
        time.sleep(0.1)
        self.spans.append((start, time.perf_counter()))
        return [Edit(np.ascontiguousarray(request.image[::-1])) for request in requests]


class SlowReader:
    """Decoding that takes 80 ms a call's worth, in whatever thread it is asked in."""

    def __init__(self) -> None:
        self.threads: set[int] = set()

    def read(self, ref: Mapping[str, Any]) -> Image:
        self.threads.add(threading.get_ident())
        time.sleep(0.02)
        return np.random.default_rng(len(ref["uri"])).integers(0, 255, (64, 64, 3), np.uint8)


def test_decoding_overlaps_with_editing(tmp_path: Path) -> None:
    editor, reader = SlowEditor(), SlowReader()
    given = [
        {
            "id": f"{n}",
            "image": ref(f"{n}"),
            "image_id": f"{n}",
            "add_instruction": "Add a cat.",
            "absent_object": "cat",
        }
        for n in range(40)
    ]
    stage = stage_of(editor, tmp_path, EditLimits(call_rows=4), reader)
    outcomes = stage.process(given)
    stage.close()
    assert all(isinstance(o, dict) for o in outcomes)
    idle = sum(after[0] - before[1] for before, after in zip(editor.spans, editor.spans[1:], strict=False))
    busy = sum(stop - start for start, stop in editor.spans)
    assert threading.get_ident() not in reader.threads
    assert len(editor.spans) == 10
    assert idle < 0.5 * busy, (idle, busy)  # one after the other it would be 0.8


@pytest.mark.parametrize("format", ["png", "jpeg"])
def test_the_format_is_configurable(format: str, tmp_path: Path) -> None:
    store = partial(ImageStoreConfig.model_validate({"format": format}).build, str(tmp_path))
    stage = EditImage(TinyEditor, store, ImageReader(), EditLimits(), 0, Resources())
    stage.setup()
    (outcome,) = stage.process(rows(1, 1))
    stage.close()
    assert isinstance(outcome, dict)
    data = ImageReader(str(tmp_path)).read_bytes(outcome["image_with_object"])
    assert data[:3] == {"png": b"\x89PN", "jpeg": b"\xff\xd8\xff"}[format]
    assert decode(data).shape == (96, 96, 3)
