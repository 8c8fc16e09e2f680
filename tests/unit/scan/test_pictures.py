"""`scan --detector`: denied objects of captions are looked for in their images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from negscale.cli import cli
from negscale.core.image import encode
from negscale.datasets.toy_icons import OBJECTS
from negscale.datasets.toy_scenes import draw, scene
from tests.unit.datasets.layouts import write_coco

SCENES = 12


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """COCO's layout over drawn scenes: of each image a true denial, a false one, and a caption that denies nothing."""
    images: list[dict[str, Any]] = []
    notes: list[dict[str, Any]] = []
    folder = tmp_path / "val2017"
    folder.mkdir()
    for number in range(SCENES):
        drawn = scene(3, number)
        there = drawn.names
        absent = next(name for name in OBJECTS if name not in there)
        images.append({"id": number, "file_name": f"{number:012d}.png", "width": 96, "height": 96})
        (folder / f"{number:012d}.png").write_bytes(encode(draw(drawn)))
        for text in (f"a picture without a {absent}", f"there is no {sorted(there)[0]}", "a drawing"):
            notes.append({"id": len(notes), "image_id": number, "caption": text})
    write_coco(tmp_path, images, notes)
    return tmp_path


def scanned(root: Path, *more: str) -> Any:
    captions = str(root / "annotations/captions_val2017.json")
    parts = ["source.kind=coco", f"source.root={root}", "source.split=val2017", *more]
    options = [word for part in parts for word in ("--detector", part)]
    page, state = str(root / "page.html"), str(root / "state")
    return CliRunner().invoke(cli, ["scan", captions, "--state", state, "--html", page, "--json", *options])


def test_true_and_false_denials_are_told_apart(root: Path) -> None:
    (root / f"val2017/{0:012d}.png").unlink()
    done = scanned(root)
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    found = result["agreement"]
    assert (result["captions"], found["captions"]) == (3 * SCENES, 2 * SCENES)
    assert found["undecided"] == {"missing_image": 2}
    assert found["decided"] == 2 * (SCENES - 1)
    assert found["confirmed"] == SCENES - 1
    assert found["low"] < found["share"] == 0.5 < found["high"]
    assert all(caption == f"there is no {name}" for _, name, caption in found["refuted"])
    kept = json.loads(Path(result["state"].removeprefix("file://"), "result.json").read_text())
    assert kept["agreement"] == found
    assert f"{SCENES - 1} are absent" in (root / "page.html").read_text()


def test_a_verifier_that_is_not_there_is_refused(root: Path) -> None:
    done = scanned(root, "verifier.kind=no_such_judge")
    assert done.exit_code != 0
    assert "no_such_judge" in f"{done.output} {done.exception}"
