from __future__ import annotations

import json
from pathlib import Path

import pytest

from negscale import app
from negscale.builds.balanced import BalancedBuildConfig, build
from negscale.builds.presence import CocoPresenceConfig, RunPresenceConfig, ToyworldPresenceConfig
from negscale.core.errors import PlanError
from negscale.core.schema import OBJECT_LISTS, extend
from negscale.datasets.toy_scenes import scene
from negscale.questions.balanced import BalancedOptions
from tests.unit.exports.folders import SCHEMA, make_run, row

SMALL = BalancedBuildConfig(
    source=ToyworldPresenceConfig(images=2500), options=BalancedOptions(questions=96, images_per_set=2, draws=0)
)


def test_a_verified_run_tells_what_is_in_its_pictures(tmp_path: Path) -> None:
    overrides = ["source.images=20", "runtime.executor=local", f"runtime.run_root={tmp_path}"]
    prepared = app.prepare("negbench_mcq_neg", (), overrides)
    app.generate(prepared)
    table = RunPresenceConfig(uri=prepared.spec.uri).table()
    assert table.num_rows > 10
    for known in table.to_pylist():
        names = scene(0, int(known["image_id"].split("-")[1])).names
        assert set(known["present"]) <= names
        assert known["absent"]
        assert not set(known["absent"]) & names


def test_rows_that_disagree_leave_the_object_in_doubt(tmp_path: Path) -> None:
    lists = [(["hat", "tree"], ["dog"]), (["hat"], ["tree"])]
    rows = [
        row(f"a-{k}", "7", str(k), positive_objects=present, negative_objects=absent)
        for k, (present, absent) in enumerate(lists)
    ]
    run = make_run(tmp_path / "run", [rows], schema=extend(SCHEMA, OBJECT_LISTS))
    assert RunPresenceConfig(uri=run.uri).table().to_pylist() == [
        {"image_id": "7", "image_path": "val2017/7.jpg", "present": ["hat"], "absent": ["dog"]}
    ]


def test_a_run_without_verified_objects_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [[row("a-0", "7", "0")]])
    with pytest.raises(PlanError, match=r"positive_objects.*negbench"):
        RunPresenceConfig(uri=run.uri).table()


def test_what_a_caption_mentions_is_not_called_absent(tmp_path: Path) -> None:
    images = [{"id": 7, "file_name": "7.jpg", "height": 4, "width": 4}]
    categories = [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}, {"id": 3, "name": "car"}]
    (tmp_path / "i.json").write_text(json.dumps({
        "images": images, "categories": categories,
        "annotations": [{"id": 1, "image_id": 7, "category_id": 1, "bbox": [0, 0, 1, 1]}],
    }))  # fmt: skip
    notes = [{"id": 1, "image_id": 7, "caption": "A dog and two kittens, that is cats."}]
    (tmp_path / "c.json").write_text(json.dumps({"images": images, "annotations": notes}))
    config = CocoPresenceConfig(annotations=str(tmp_path / "i.json"), captions=str(tmp_path / "c.json"))
    assert config.table().to_pylist() == [
        {"image_id": "000000000007", "image_path": "7.jpg", "present": ["dog"], "absent": ["car"]}
    ]


def test_a_build_is_repeatable_and_never_overwrites_another(tmp_path: Path) -> None:
    first = build(SMALL, str(tmp_path / "a"))
    before = (tmp_path / "a/questions.csv").read_bytes()
    assert build(SMALL, str(tmp_path / "a"))["questions_sha256"] == first["questions_sha256"]
    assert (tmp_path / "a/questions.csv").read_bytes() == before
    with pytest.raises(PlanError, match="holds another build"):
        build(SMALL.model_copy(update={"seed": 1}), str(tmp_path / "a"))
    assert (tmp_path / "a/questions.csv").read_bytes() == before
