"""What every Judge promises; each implementation that can load here is tried."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from negscale.backends.annotation_judge import AnnotationJudgeConfig
from negscale.backends.detector_judge import DetectorJudgeConfig
from negscale.backends.dual_encoders import HfDualEncoderConfig
from negscale.backends.encoder_judge import EncoderJudgeConfig
from negscale.backends.hf_detectors import HfZeroShotDetectorConfig
from negscale.backends.hf_itm import HfItmConfig
from negscale.backends.onnx_detector import OnnxDetectorConfig
from negscale.core.backend import Judge, Picture, Verdict
from negscale.core.stage import Fault
from tests.unit.backends.small_onnx import picture, write_colour_detector

PIXELS = [picture("red"), picture("green"), picture("blue", "red")]
SHOWN = [{"person"}, {"car"}, {"dog", "person"}]
CLASSES = ("person", "car", "dog")


def detector_judge(folder: Path) -> Judge:
    path = write_colour_detector(folder / "colours.onnx")
    return DetectorJudgeConfig(detectors={"c": OnnxDetectorConfig(layout="fastestdet", model=str(path))}).build()


def annotation_judge(folder: Path) -> Judge:
    document = {
        "images": [{"id": number} for number in range(len(SHOWN))],
        "categories": [{"id": number, "name": name} for number, name in enumerate(CLASSES)],
        "annotations": [
            {"image_id": image, "category_id": CLASSES.index(name)}
            for image, names in enumerate(SHOWN)
            for name in names
        ],
    }
    path = folder / "instances.json"
    path.write_text(json.dumps(document))
    return AnnotationJudgeConfig(annotations=str(path)).build()


def hf_itm(folder: Path) -> Judge:
    from tests.unit.backends.made_vision import make_blip

    return HfItmConfig(model="made/blip", path=str(make_blip(folder))).build()


def encoder_judge(folder: Path) -> Judge:
    from tests.unit.backends.made_vision import make_dual

    return EncoderJudgeConfig(encoder=HfDualEncoderConfig(model="made/clip", path=str(make_dual(folder)))).build()


def open_detector_judge(folder: Path) -> Judge:
    from tests.unit.backends.made_vision import make_owl

    return DetectorJudgeConfig(
        detectors={"owl": HfZeroShotDetectorConfig(model="made/owl", path=str(make_owl(folder)))}
    ).build()


JUDGES: dict[str, Callable[[Path], Judge]] = {
    "detector_judge": detector_judge, "annotation_judge": annotation_judge, "hf_itm": hf_itm, "encoder_judge": encoder_judge,
    "open_detector_judge": open_detector_judge,
}  # fmt: skip
SEES = {"detector_judge", "annotation_judge"}  # the others have random weights, and know every name


@pytest.fixture(params=sorted(JUDGES))
def judge(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Judge]:
    if request.param not in SEES:
        pytest.importorskip("transformers")
    built = JUDGES[request.param](tmp_path)
    built.load()
    yield built
    built.close()


def questions(judge: Judge) -> tuple[list[Picture], list[str]]:
    pairs = [(number, name) for number in range(len(PIXELS)) for name in (*CLASSES, "people")]
    return [Picture(PIXELS[n] if judge.needs_pixels else None, str(n)) for n, _ in pairs], [name for _, name in pairs]


def sees(request: pytest.FixtureRequest) -> bool:
    return request.node.callspec.params["judge"] in SEES


def test_one_answer_per_question_in_order(judge: Judge, request: pytest.FixtureRequest) -> None:
    pictures, claims = questions(judge)
    answers = judge.judge(pictures, claims)
    assert len(answers) == len(claims)
    assert judge.judge([], []) == []
    for shown, claim, answer in zip((SHOWN[int(p.image_id)] for p in pictures), claims, answers, strict=True):
        assert isinstance(answer, Verdict)
        assert answer.raw
        assert isinstance(answer.accept, bool)
        if sees(request):
            assert answer.accept == (("person" if claim == "people" else claim) in shown)
        assert 0.0 <= answer.score <= 1.0


def test_exact_judges_do_not_depend_on_batch_mates(judge: Judge) -> None:
    if not judge.exact:
        pytest.skip("declares itself batch-dependent")
    pictures, claims = questions(judge)
    whole = judge.judge(pictures, claims)
    assert whole == [judge.judge([p], [c])[0] for p, c in zip(pictures, claims, strict=True)]
    assert whole == judge.judge(pictures[::-1], claims[::-1])[::-1]


def test_what_it_cannot_know_is_a_fault_and_spares_its_mates(judge: Judge, request: pytest.FixtureRequest) -> None:
    if not sees(request):
        pytest.skip("knows every name")
    picture_ = Picture(PIXELS[0] if judge.needs_pixels else None, "0")
    answers = judge.judge([picture_] * 3, ["person", "tree", "person"])
    assert isinstance(answers[1], Fault)
    assert not answers[1].retryable
    assert isinstance(answers[0], Verdict)
    assert answers[0] == answers[2]
    assert answers[0].accept


def test_the_id_names_weights_or_data(judge: Judge) -> None:
    name, _, revision = judge.id.rpartition("@")
    assert name
    assert len(revision) >= 7
