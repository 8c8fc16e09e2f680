"""What every Detector promises; each implementation that can load here is tried."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from negscale.backends.hf_detectors import HfDetectorConfig, HfZeroShotDetectorConfig
from negscale.backends.onnx_detector import OnnxDetectorConfig
from negscale.core.backend import Detector
from negscale.core.stage import Fault
from tests.unit.backends.small_onnx import picture, write_colour_detector


def onnx(folder: Path) -> Detector:
    return OnnxDetectorConfig(layout="fastestdet", model=str(write_colour_detector(folder / "colours.onnx"))).build()


def hf_closed(folder: Path) -> Detector:
    from tests.unit.backends.made_vision import make_detr

    return HfDetectorConfig(model="made/detr", path=str(make_detr(folder))).build()


def hf_open(folder: Path) -> Detector:
    from tests.unit.backends.made_vision import make_owl

    return HfZeroShotDetectorConfig(model="made/owl", path=str(make_owl(folder))).build()


DETECTORS: dict[str, Callable[[Path], Detector]] = {
    "onnx_detector": onnx, "hf_detector": hf_closed, "hf_zero_shot_detector": hf_open,
}  # fmt: skip
SEES = {"onnx_detector"}  # the others have random weights
PICTURES = [picture("red"), picture("green", "red"), picture(), picture("blue", "blue", "green")]


@pytest.fixture(params=sorted(DETECTORS))
def detector(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Detector]:
    if request.param.startswith("hf_"):
        pytest.importorskip("transformers")
    built = DETECTORS[request.param](tmp_path)
    built.load()
    yield built
    built.close()


def test_one_answer_per_picture_in_order(detector: Detector, request: pytest.FixtureRequest) -> None:
    answers = detector.detect(PICTURES, [["person"]] * 4)
    best = [answer[0].score if isinstance(answer, list) and answer else 0.0 for answer in answers]
    assert len(answers) == 4
    if request.node.callspec.params["detector"] in SEES:
        assert [score > 0.5 for score in best] == [True, True, False, False]
    assert detector.detect([], []) == []


def test_boxes_carry_asked_labels_scores_and_lie_in_the_picture(detector: Detector) -> None:
    for pixels, answer in zip(PICTURES, detector.detect(PICTURES, [["person", "car"]] * 4), strict=True):
        assert isinstance(answer, list)
        assert [box.score for box in answer] == sorted((box.score for box in answer), reverse=True)
        for box in answer:
            left, top, right, bottom = box.box_xyxy_px
            assert box.label in ("person", "car")
            assert 0 <= box.score <= 1
            assert 0 <= left <= right <= pixels.shape[1]
            assert 0 <= top <= bottom <= pixels.shape[0]


def test_exact_detectors_do_not_depend_on_batch_mates(detector: Detector) -> None:
    if not detector.exact:
        pytest.skip("declares itself batch-dependent")
    labels = [["person"], ["car", "dog"], ["person"], ["dog"]]
    whole = detector.detect(PICTURES, labels)
    assert whole == [detector.detect([p], [w])[0] for p, w in zip(PICTURES, labels, strict=True)]
    assert whole == detector.detect(PICTURES[::-1], labels[::-1])[::-1]


def test_a_bad_request_is_a_fault_and_spares_its_mates(detector: Detector) -> None:
    answers = detector.detect([PICTURES[0], np.zeros((4, 4), np.uint8), PICTURES[0]], [["person"]] * 3)
    assert isinstance(answers[1], Fault)
    assert isinstance(answers[0], list)
    if detector.exact:
        assert answers[0] == answers[2]
    if detector.vocabulary is not None:
        (unknown,) = detector.detect([PICTURES[0]], [["unheard-of thing"]])
        assert isinstance(unknown, Fault)


def test_the_id_names_weights(detector: Detector) -> None:
    name, _, revision = detector.id.rpartition("@")
    assert name
    assert len(revision) >= 7
