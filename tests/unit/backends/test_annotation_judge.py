"""Judging by annotations: present, absent, and the two cases that are neither."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from negscale.backends.annotation_judge import AnnotationJudge, AnnotationJudgeConfig
from negscale.core.backend import Picture, Verdict
from negscale.core.errors import ConfigError
from negscale.core.stage import Fault

DOCUMENT = {
    "images": [{"id": 139}, {"id": 285}, {"id": 632}],
    "categories": [{"id": 1, "name": "person"}, {"id": 62, "name": "chair"}, {"id": 63, "name": "couch"}],
    "annotations": [
        {"image_id": 139, "category_id": 62, "iscrowd": 0},
        {"image_id": 285, "category_id": 1, "iscrowd": 1},
    ],
}


@pytest.fixture
def judge(tmp_path: Path) -> AnnotationJudge:
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(DOCUMENT))
    built = AnnotationJudgeConfig(annotations=str(path)).build()
    built.load()
    return built


@pytest.mark.parametrize(
    ("image", "claim", "present"),
    [
        ("139", "chair", True), ("139", "person", False), ("139", "chairs", True), ("139", "sofa", False),
        ("COCO_val2014_000000000285.jpg", "person", True),  # a crowd is present; splits share ids
        ("000000000632", "person", False),  # looked at, nothing found
    ],
)  # fmt: skip
def test_looks_up(judge: AnnotationJudge, image: str, claim: str, present: bool) -> None:
    (answer,) = judge.judge([Picture(None, image)], [claim])
    assert isinstance(answer, Verdict)
    assert (answer.accept, answer.score) == (present, float(present))


def test_silence_is_no_absence(judge: AnnotationJudge) -> None:
    answers = judge.judge([Picture(None, "999"), Picture(None, "139"), Picture(None, "139")], ["person", "tree", ""])
    assert [a.kind for a in answers if isinstance(a, Fault)] == [
        "not_annotated",
        "outside_vocabulary",
        "outside_vocabulary",
    ]
    assert not any(a.retryable for a in answers if isinstance(a, Fault))


def test_wrong_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"verifier\.annotations is empty"):
        AnnotationJudgeConfig().identity()
    path = tmp_path / "captions.json"
    path.write_text(json.dumps({"images": [], "annotations": []}))
    with pytest.raises(ConfigError, match="no COCO instances file"):
        AnnotationJudgeConfig(annotations=str(path)).build().load()
    path.write_text("[1, 2")
    with pytest.raises(ConfigError, match="no COCO instances file"):
        AnnotationJudgeConfig(annotations=str(path)).build().load()
