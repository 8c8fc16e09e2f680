"""The detector judge on a real tiny model, the fusion on known numbers, the calibration on made data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from negscale.backends.detector_judge import DetectorJudge, DetectorJudgeConfig
from negscale.backends.onnx_detector import OnnxDetectorConfig
from negscale.backends.presence import Calibration, Evidence, fit_calibration, fuse, log_odds, views_of
from negscale.core.backend import Picture, Verdict
from negscale.core.errors import ConfigError
from negscale.core.stage import Fault
from negscale.metrics.statistics import roc_auc
from tests.unit.backends.small_onnx import picture, write_colour_detector

MODELS = {
    "yolox": ("yolox_nano.onnx", 0.882),
    "nanodet": ("nanodet_m.onnx", 0.853),
    "fastestdet": ("FastestDet.onnx", 0.811),
}


def config(folder: Path, **changes: object) -> DetectorJudgeConfig:
    path = write_colour_detector(folder / "colours.onnx")
    detector = OnnxDetectorConfig(layout="fastestdet", model=str(path))
    return DetectorJudgeConfig.model_validate({"detectors": {"colours": detector}, **changes})


def loaded(settings: DetectorJudgeConfig) -> DetectorJudge:
    built = settings.build()
    built.load()
    return built


def ask(judge: DetectorJudge, pixels: np.ndarray | None, claim: str) -> Verdict | Fault:
    (answer,) = judge.judge([Picture(pixels, "1")], [claim])
    return answer


def test_sees_what_is_there_and_what_is_not(tmp_path: Path) -> None:
    judge = loaded(config(tmp_path))
    for claim, present in (("person", True), ("automobiles", False), ("dog", True)):
        answer = ask(judge, picture("red", "blue"), claim)
        assert isinstance(answer, Verdict)
        assert answer.accept is present
        assert (answer.score > 0.8) if present else (answer.score < 0.01)
        assert "colours.full=" in answer.raw


def test_what_no_detector_knows_is_never_absent(tmp_path: Path) -> None:
    judge = loaded(config(tmp_path))
    for claim in ("tree", "man", ""):
        answer = ask(judge, picture(), claim)
        assert isinstance(answer, Fault)
        assert answer.kind == "outside_vocabulary"
        assert not answer.retryable
    answer = ask(judge, None, "person")
    assert isinstance(answer, Fault)
    assert answer.kind == "no_pixels"


def test_thresholds_global_and_per_class(tmp_path: Path) -> None:
    judge = loaded(config(tmp_path, threshold=0.95, class_thresholds={"dog": 0.5}))
    accepts = [ask(judge, picture("red", "blue"), claim) for claim in ("person", "dog")]
    assert [a.accept for a in accepts if isinstance(a, Verdict)] == [False, True]


def test_tiles_find_what_the_whole_picture_hides(tmp_path: Path) -> None:
    small = np.zeros((320, 320, 3), np.uint8)
    small[:32, :32, 0] = 255
    scores = []
    for view in ("full", "tiles3"):
        judge = loaded(config(tmp_path, calibration={"weights": {"colours": {view: 1.0}}}))
        answer = ask(judge, small, "person")
        assert isinstance(answer, Verdict)
        scores.append(answer.score)
    assert scores[1] > 3 * scores[0]


def test_area_is_that_of_the_strongest_box(tmp_path: Path) -> None:
    judge = loaded(config(tmp_path))
    seen = judge.evidence(picture("red"), ["person", "car"])
    assert not isinstance(seen, Fault)
    assert seen["person"].area == pytest.approx(0.25, abs=1e-3)


def test_views_cover_the_picture() -> None:
    pixels = np.arange(50 * 70 * 3, dtype=np.uint32).reshape(50, 70, 3)
    for view, count in (("full", 1), ("mirrored", 1), ("tiles2", 4), ("tiles3", 9)):
        parts = list(views_of(pixels, view))  # type: ignore[arg-type]
        assert len(parts) == count
        assert set(np.unique(np.concatenate([p.ravel() for p in parts]))) == set(range(pixels.size))
    assert len(list(views_of(np.zeros((1, 1, 3), np.uint8), "tiles3"))) == 9


def test_fusion_is_the_written_formula() -> None:
    rule = Calibration(
        bias=0.5, weights={"a": {"full": 2.0}, "b": {"full": 1.0}}, area_weight=-0.3, class_offsets={"cat": -1.0}
    )
    evidence = Evidence({("a", "full"): 0.4, ("b", "full"): 0.2}, 0.4, 0.1)
    odds = 0.5 - 1.0 + 2 * log_odds(0.4) + log_odds(0.2) - 0.3 * np.log(0.10001)
    assert fuse(evidence, rule, "cat") == pytest.approx(1 / (1 + np.exp(-odds)))
    assert fuse(Evidence({("a", "full"): 0.4, ("b", "full"): 0.4}), Calibration(), "cat") == pytest.approx(0.4)


def test_a_detector_without_the_class_leaves_its_weight_to_the_others() -> None:
    rule = Calibration(weights={"a": {"full": 1.0}, "b": {"full": 1.0}})
    assert fuse(Evidence({("a", "full"): 0.3}), rule, "x") == fuse(
        Evidence({("a", "full"): 0.3, ("b", "full"): 0.3}), rule, "x"
    )


def test_calibration_recovers_what_made_the_data() -> None:
    rng = np.random.default_rng(5)
    scores = rng.uniform(0.01, 0.99, (4000, 2, 1))
    areas = rng.uniform(0.001, 1.0, (4000, 2))
    odds = 1.5 * np.log(scores[..., 0] / (1 - scores[..., 0])) - 0.5 * np.log(areas) + np.array([1.0, -1.0])
    present = rng.uniform(size=odds.shape) < 1 / (1 + np.exp(-odds))
    fitted = fit_calibration(scores, areas, present, [("a", "full")], ["cat", "dog"])
    assert fitted.weights["a"]["full"] == pytest.approx(1.5, abs=0.1)
    assert fitted.area_weight == pytest.approx(-0.5, abs=0.1)
    assert fitted.class_offsets["cat"] - fitted.class_offsets["dog"] == pytest.approx(2.0, abs=0.25)


def test_names_that_do_not_match_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="calibrate this ensemble"):
        config(tmp_path, calibration={"weights": {"yolox": {"full": 1.0}}}).build()
    with pytest.raises(ConfigError, match=r"class_thresholds names 'tree'"):
        config(tmp_path, class_thresholds={"tree": 0.5}).build()
    with pytest.raises(ConfigError, match="detectors is empty"):
        DetectorJudgeConfig(detectors={}).build()


def test_id_follows_weights_and_thresholds(tmp_path: Path) -> None:
    ids = {loaded(config(tmp_path, threshold=t)).id for t in (0.5, 0.5, 0.4)}
    assert len(ids) == 2
    assert all("onnx/fastestdet/colours@" in name for name in ids)


@pytest.mark.real_data
@pytest.mark.slow
@pytest.mark.parametrize("layout", sorted(MODELS))
def test_presence_auc_on_val2017(layout: str, shared_data: Path) -> None:
    """The wrong colour order or scaling would fall far below (0.416 for YOLOX) without any error."""
    from negscale.backends.annotation_judge import AnnotationJudgeConfig
    from negscale.core.image import decode
    from negscale.language.nouns import COCO_80

    name, published = MODELS[layout]
    detector = OnnxDetectorConfig(layout=layout, model=str(shared_data / "models" / name))  # type: ignore[arg-type]
    judge = loaded(DetectorJudgeConfig(detectors={layout: detector}))
    instances = shared_data / "coco" / "annotations" / "instances_val2017.json"
    truth = AnnotationJudgeConfig(annotations=str(instances)).build()
    truth.load()
    scores, present = [], []
    for path in sorted((shared_data / "coco" / "val2017").glob("*.jpg"))[::3]:
        known = truth.judge([Picture(None, path.name)] * 80, COCO_80)
        if isinstance(known[0], Fault):
            continue
        seen = judge.evidence(decode(path.read_bytes()), COCO_80)
        assert not isinstance(seen, Fault)
        scores += [seen[c].strongest for c in COCO_80]
        present += [isinstance(answer, Verdict) and bool(answer.accept) for answer in known]
    auc = roc_auc(scores, present)
    print(
        f"\n{layout}: presence AUC {auc:.4f} over {len(scores) // 80} images (published with a score cut: {published})"
    )
    assert auc > published + 0.05
