"""The ONNX detector on a real (tiny) model file, the decoders on hand-made outputs, the real models on photographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from negscale.backends.onnx_detector import OnnxDetector, OnnxDetectorConfig
from negscale.backends.onnx_layouts import LAYOUTS, STRIDES, prepare, suppress
from negscale.core.backend import Detection
from negscale.core.errors import ConfigError
from negscale.core.stage import Fault
from tests.unit.backends.small_onnx import picture, write_colour_detector


@pytest.fixture
def detector(tmp_path: Path) -> OnnxDetector:
    path = write_colour_detector(tmp_path / "colours.onnx")
    built = OnnxDetectorConfig(layout="fastestdet", model=str(path)).build()
    built.load()
    return built


def test_boxes_lie_where_the_colour_is(detector: OnnxDetector) -> None:
    (found,) = detector.detect([picture("red", "black", "green", "blue")], [["person", "car", "dog", "cat"]])
    assert isinstance(found, list)
    boxes = {box.label: box.box_xyxy_px for box in found}
    assert boxes == {
        "person": pytest.approx((0, 0, 32, 32), abs=1e-3),
        "car": pytest.approx((0, 32, 32, 64), abs=1e-3),
        "dog": pytest.approx((32, 32, 64, 64), abs=1e-3),
    }
    assert all(box.score == pytest.approx(0.9, abs=1e-4) for box in found)


def test_pictures_are_rgb_and_the_network_gets_its_own_order(detector: OnnxDetector) -> None:
    (red,) = detector.detect([picture("red", "red", "red", "red")], [[]])
    assert isinstance(red, list)
    assert {box.label for box in red} == {"person"}


def test_labels_may_be_synonyms_and_plurals(detector: OnnxDetector) -> None:
    (found,) = detector.detect([picture("green")], [["automobiles"]])
    assert isinstance(found, list)
    assert [box.label for box in found] == ["car"]


def test_unknown_labels_and_odd_arrays_are_faults(detector: OnnxDetector) -> None:
    grey = np.zeros((8, 8), np.uint8)
    answers = detector.detect([picture(), grey, picture("red")], [["tree"], ["person"], ["person"]])
    assert [a.kind if isinstance(a, Fault) else "boxes" for a in answers] == [
        "outside_vocabulary",
        "bad_pixels",
        "boxes",
    ]


def test_low_scores_survive(tmp_path: Path) -> None:
    path = write_colour_detector(tmp_path / "weak.onnx", confidence=0.002)
    built = OnnxDetectorConfig(layout="fastestdet", model=str(path)).build()
    built.load()
    (found,) = built.detect([picture("red")], [["person"]])
    assert isinstance(found, list)
    assert 0.001 < found[0].score < 0.003


def test_id_and_identity_follow_the_weights_not_the_place(tmp_path: Path) -> None:
    one, other = tmp_path / "a.onnx", tmp_path / "b.onnx"
    write_colour_detector(one)
    write_colour_detector(other)
    first, second = (OnnxDetectorConfig(layout="fastestdet", model=str(path)) for path in (one, other))
    assert first.identity() == second.identity()
    assert first.build().id.startswith("onnx/fastestdet/a@")
    assert first.build().id[-12:] == second.build().id[-12:]
    write_colour_detector(other, confidence=0.5)
    assert first.identity() != second.identity()


def test_missing_and_wrong_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"verifier\.detectors\.yolox\.model=PATH"):
        OnnxDetectorConfig(layout="yolox").identity()
    with pytest.raises(ConfigError, match="no file"):
        OnnxDetectorConfig(layout="yolox", model=str(tmp_path / "gone.onnx")).build().load()
    rubbish = tmp_path / "rubbish.onnx"
    rubbish.write_bytes(b"not a model")
    with pytest.raises(ConfigError, match="cannot be read as an ONNX model"):
        OnnxDetectorConfig(layout="yolox", model=str(rubbish)).build().load()
    colours = write_colour_detector(tmp_path / "colours.onnx")
    with pytest.raises(ConfigError, match="another layout's export"):
        OnnxDetectorConfig(layout="yolox", model=str(colours)).build().load()


def test_yolox_grid_decoding() -> None:
    cells = [(32 // stride) ** 2 for stride in STRIDES]
    raw = np.zeros((1, sum(cells), 85), np.float32)
    at = cells[0] + 1 * 2 + 0  # stride 16, row 1, column 0
    raw[0, at, :4] = [0.5, 0.25, np.log(2), np.log(1)]
    raw[0, at, 4], raw[0, at, 5 + 7] = 0.5, 0.8
    boxes, scores = LAYOUTS["yolox"].decode([raw], (32, 32))
    assert boxes[at] == pytest.approx([8 - 16, 20 - 8, 8 + 16, 20 + 8])
    assert scores[at, 7] == pytest.approx(0.4)
    assert scores.sum() == pytest.approx(0.4)


def test_nanodet_distribution_decoding() -> None:
    cells = [(32 // stride) ** 2 for stride in STRIDES]
    classes = [np.zeros((1, n, 80), np.float32) for n in cells]
    sides = [np.zeros((1, n, 32), np.float32) for n in cells]
    classes[1][0, 3, 16] = 0.7  # stride 16, row 1, column 1: centre (24, 24)
    for side, distance in enumerate((1, 0, 0, 1)):  # left, top, right, bottom in strides
        sides[1][0, 3, side * 8 + distance] = 50.0
    boxes, scores = LAYOUTS["nanodet"].decode([*classes, *sides], (32, 32))
    at = cells[0] + 3
    assert boxes[at] == pytest.approx([8, 24, 24, 40], abs=1e-3)
    assert scores[at, 16] == pytest.approx(0.7)


def test_letterbox_keeps_the_shape_and_maps_back() -> None:
    tensor, placement = prepare(np.full((100, 200, 3), 255, np.uint8), LAYOUTS["yolox"], (64, 64))
    assert tensor.shape == (1, 3, 64, 64)
    assert (tensor[0, :, :32] == 255).all()
    assert (tensor[0, :, 32:] == 114).all()
    back = placement.to_picture(np.array([[0, 0, 64, 32], [32, 16, 999, 999]], np.float32), 100, 200)
    assert back == pytest.approx(np.array([[0, 0, 200, 100], [100, 50, 200, 100]]))


def test_suppression_drops_overlaps_and_keeps_the_best() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10], [5, 0, 15, 10]], float)
    assert suppress(boxes, np.array([0.5, 0.9, 0.1, 0.3]), 0.5, 100).tolist() == [1, 3, 2]
    assert suppress(boxes, np.array([0.5, 0.5, 0.5, 0.5]), 0.5, 2).tolist() == [0]
    assert suppress(np.zeros((0, 4)), np.zeros(0), 0.5, 10).tolist() == []


def test_detection_is_a_plain_value(detector: OnnxDetector) -> None:
    (found,) = detector.detect([picture("red")], [["person"]])
    assert isinstance(found, list)
    assert isinstance(found[0], Detection)
    assert all(type(side) is float for side in found[0].box_xyxy_px)
