"""The transformers detectors on small models with random weights, against direct calls of transformers."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from negscale.backends.config import check_access
from negscale.backends.detector_judge import DetectorJudgeConfig
from negscale.backends.hf_detectors import HfDetectorConfig, HfZeroShotDetectorConfig
from negscale.core.backend import Detection, Picture, Verdict
from negscale.core.config import load
from negscale.core.errors import ConfigError, FatalError
from negscale.core.stage import Fault
from negscale.pipelines.negationclip import P1Config
from tests.unit.backends.made_vision import (
    CLASSES,
    make_detr,
    make_dual,
    make_grounding_dino,
    make_owl,
    make_rt_detr,
    pictures,
)

pytest.importorskip("torch")
pytest.importorskip("transformers")

CONFIGS = Path(__file__).parents[3] / "configs"
OPEN: dict[str, Callable[[Path], Path]] = {
    "owlvit": make_owl, "owlv2": partial(make_owl, version=2), "grounding_dino": make_grounding_dino,
    "mm_grounding_dino": partial(make_grounding_dino, mm=True),
}  # fmt: skip
CLOSED: dict[str, Callable[[Path], Path]] = {"detr": make_detr, "rt_detr": make_rt_detr}
EVERY = [*OPEN, *CLOSED]
PICTURES = pictures()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: make(tmp_path_factory.mktemp(name)) for name, make in {**OPEN, **CLOSED}.items()}


def config(folders: dict[str, Path], name: str, **changes: Any) -> Any:
    values = {"model": f"made/{name}", "path": str(folders[name]), "min_score": 0.0, **changes}
    if name in CLOSED:
        return HfDetectorConfig(**values)
    prompt = {"prompt": "{object}"} if "grounding_dino" in name else {}
    return HfZeroShotDetectorConfig(**{**prompt, **values})


def loaded(folders: dict[str, Path], name: str, **changes: Any) -> Any:
    built = config(folders, name, **changes).build()
    built.load()
    return built


def boxes(answer: Any) -> list[Detection]:
    assert isinstance(answer, list), answer
    return answer


def close(a: list[Detection], b: list[Detection]) -> None:
    """Equal up to rounding, whatever the order of near-equal scores."""
    assert len(a) == len(b)
    for one, other in zip(*(sorted(x, key=lambda d: (d.label, *d.box_xyxy_px)) for x in (a, b)), strict=True):
        assert one.label == other.label
        assert one.score == pytest.approx(other.score, abs=1e-4)
        assert one.box_xyxy_px == pytest.approx(other.box_xyxy_px, abs=0.05)


def by_transformers(folder: Path, name: str, picture: np.ndarray, label: str) -> list[Detection]:
    """What the library's own example code gives for one picture and one label."""
    import torch
    import transformers as tf

    size = [picture.shape[:2]]
    with torch.inference_mode():
        if name in CLOSED:
            eyes, net = (
                tf.AutoImageProcessor.from_pretrained(folder),
                tf.AutoModelForObjectDetection.from_pretrained(folder),
            )
            outputs = net(**eyes(images=picture, return_tensors="pt"))
            (result,) = eyes.post_process_object_detection(outputs, threshold=0.0, target_sizes=size)
            named = [net.config.id2label[int(n)] for n in result["labels"]]
        else:
            processor = tf.AutoProcessor.from_pretrained(folder)
            net = tf.AutoModelForZeroShotObjectDetection.from_pretrained(folder)
            text = f"{label}." if "grounding_dino" in name else [[f"A photo of {label}"]]
            inputs = processor(text=text, images=picture, return_tensors="pt")
            (result,) = processor.post_process_grounded_object_detection(
                net(**inputs), threshold=0.0, target_sizes=size
            )
            named = [label] * len(result["scores"])
    found = []
    edges = (picture.shape[1], picture.shape[0]) * 2
    for said, score, box in zip(named, result["scores"].tolist(), result["boxes"].tolist(), strict=True):
        left, top, right, bottom = (min(max(side, 0.0), edge) for side, edge in zip(box, edges, strict=True))
        found += [Detection(said, score, (left, top, right, bottom))] if said == label else []
    return found


@pytest.mark.parametrize("name", EVERY)
def test_scores_and_pixels_are_those_of_transformers(folders: dict[str, Path], name: str) -> None:
    detector = loaded(folders, name)
    total = 0
    for picture in PICTURES:
        found = boxes(detector.detect([picture], [["car"]])[0])
        close(found, by_transformers(folders[name], name, picture, "car"))
        assert [b.score for b in found] == sorted((b.score for b in found), reverse=True)
        total += len(found)
    assert total >= 4


@pytest.mark.parametrize("name", EVERY)
def test_a_batch_is_its_single_pictures(folders: dict[str, Path], name: str) -> None:
    detector = loaded(folders, name, run={"batch_size": 3})
    mirrored = [np.ascontiguousarray(picture[:, ::-1]) for picture in PICTURES]  # pairs of equal size
    labels = [["dog", "car"], ["person", "car", "dog"], ["dog", "person", "car"], ["car"]] * 2
    whole = detector.detect([*PICTURES, *mirrored], labels)
    for picture, wanted, found in zip([*PICTURES, *mirrored], labels, whole, strict=True):
        close(boxes(found), boxes(detector.detect([picture], [wanted])[0]))
    assert len({repr(found) for found in whole}) >= 5  # the pictures are told apart


@pytest.mark.parametrize("name", EVERY)
def test_a_label_does_not_depend_on_the_labels_beside_it(folders: dict[str, Path], name: str) -> None:
    detector = loaded(folders, name)
    together = boxes(detector.detect([PICTURES[0]], [list(CLASSES)])[0])
    for label in CLASSES:
        close([b for b in together if b.label == label], boxes(detector.detect([PICTURES[0]], [[label]])[0]))


@pytest.mark.parametrize("name", EVERY)
def test_weak_boxes_are_left_out(folders: dict[str, Path], name: str) -> None:
    everything = boxes(loaded(folders, name).detect([PICTURES[2]], [["car"]])[0])
    cut = sorted(b.score for b in everything)[len(everything) // 2]
    close(
        boxes(loaded(folders, name, min_score=cut).detect([PICTURES[2]], [["car"]])[0]),
        [b for b in everything if b.score > cut],
    )


def test_what_cannot_be_asked_is_a_fault(folders: dict[str, Path]) -> None:
    for name, label, kind in (
        ("owlvit", "word " * 40, "label_too_long"), ("owlvit", " ", "empty_label"), ("grounding_dino", "", "empty_label"),
        ("detr", "tree", "outside_vocabulary"),
    ):  # fmt: skip
        good, odd, grey = loaded(folders, name).detect(
            [PICTURES[0], PICTURES[0], PICTURES[0][..., 0]], [["car"], [label], ["car"]]
        )
        assert boxes(good)
        assert isinstance(odd, Fault)
        assert odd.kind == kind
        assert isinstance(grey, Fault)
        assert grey.kind == "bad_pixels"
    assert loaded(folders, "owlvit").detect(PICTURES[:1], [[]]) == [[]]


def test_a_dot_in_a_label_does_not_split_it(folders: dict[str, Path]) -> None:
    detector = loaded(folders, "grounding_dino")
    found = boxes(detector.detect([PICTURES[0]], [["St. Dog"]])[0])
    assert {b.label for b in found} == {"St. Dog"}
    assert detector.prompt_of("St. Dog") == "st dog."


def test_the_closed_vocabulary_is_the_models(folders: dict[str, Path]) -> None:
    built = config(folders, "detr").build()
    assert built.vocabulary == CLASSES  # without N/A, before any weights are loaded
    built.load()
    assert {b.label for b in boxes(built.detect([PICTURES[0]], [["people"]])[0])} <= {"person"}
    with pytest.raises(FatalError, match="call load"):
        config(folders, "detr").build().detect([], [])


def test_half_precision_and_nan(folders: dict[str, Path]) -> None:
    import torch

    full, half = (
        boxes(loaded(folders, "owlvit", dtype=d).detect([PICTURES[0]], [["car"]])[0]) for d in ("float32", "bfloat16")
    )
    assert half[0].score == pytest.approx(full[0].score, abs=0.05)
    broken = loaded(folders, "owlvit")
    with torch.no_grad():
        broken._model.class_head.dense0.weight.fill_(float("nan"))
    (answer,) = broken.detect([PICTURES[0]], [["car"]])
    assert isinstance(answer, Fault)
    assert answer.kind == "not_a_number"


def test_open_vocabulary_judge_is_negbenchs_filter(folders: dict[str, Path]) -> None:
    detector = config(folders, "owlvit")
    best = [boxes(loaded(folders, "owlvit").detect([p], [["flying pig"]])[0])[0].score for p in PICTURES]
    threshold = float(np.mean(best))
    judge = DetectorJudgeConfig(detectors={"owl": detector}, threshold=threshold).build()
    judge.load()
    answers = judge.judge([Picture(p, "") for p in PICTURES], ["flying  pig"] * 4)
    assert [a.accept for a in answers if isinstance(a, Verdict)] == [score >= threshold for score in best]
    assert [a.score for a in answers if isinstance(a, Verdict)] == pytest.approx(best, abs=1e-3)
    (blank,) = judge.judge([Picture(PICTURES[0], "")], [" "])
    assert isinstance(blank, Fault)
    judge.close()


def test_open_and_closed_detectors_judge_together(folders: dict[str, Path]) -> None:
    detectors = {"owl": config(folders, "owlvit"), "detr": config(folders, "detr", min_score=0.01)}
    judge = DetectorJudgeConfig(detectors=detectors).build()
    judge.load()
    known, unknown = judge.judge([Picture(PICTURES[0], "")] * 2, ["people", "flying pig"])
    assert isinstance(known, Verdict)
    assert isinstance(unknown, Verdict)
    assert "detr.full" in known.raw
    assert "detr.full" not in unknown.raw


def test_missing_weights_name_what_to_do(tmp_path: Path, folders: dict[str, Path]) -> None:
    gone = HfZeroShotDetectorConfig(model="a/b", path=str(tmp_path / "gone"))
    with pytest.raises(ConfigError, match=r"not a folder with a model"):
        check_access(DetectorJudgeConfig(detectors={"owl": gone}))
    hub = HfDetectorConfig(model="no-such-owner/none", run={"offline": True})  # type: ignore[arg-type]
    for attempt in (hub.check_access, hub.build().load):
        with pytest.raises(ConfigError, match=r"no-such-owner/none.*HF_TOKEN.*HF_ENDPOINT.*path"):
            attempt()
    clip = HfZeroShotDetectorConfig(model="made/clip", path=str(make_dual(tmp_path)))
    with pytest.raises(ConfigError, match=r"of type 'clip'.*needs one of owlvit"):
        clip.build().load()
    with pytest.raises(ConfigError, match="sees no GPU"):
        config(folders, "owlvit", run={"device": "cuda"}).build().load()
    with pytest.raises(ValueError, match="folder of a local model"):
        HfDetectorConfig(model="/data/detr")


def test_identity_is_the_weights_not_the_place(folders: dict[str, Path]) -> None:
    first = config(folders, "detr")
    assert (
        first.identity() == first.model_copy(update={"run": first.run.model_copy(update={"batch_size": 1})}).identity()
    )
    assert first.build().id.startswith("hf/made/detr@files-")
    assert str(folders["detr"]) not in json.dumps(first.identity())
    assert HfDetectorConfig(model="a/b", revision="17").build().id == "hf/a/b@17"
    assert DetectorJudgeConfig(detectors={"d": {**first.model_dump(), "run": {"gpus": 0.5}}}).resources().gpus == 0.5


@pytest.mark.parametrize("name", ["negbench_paper_detector", "today", "today_detector"])
def test_shipped_configs_load(name: str) -> None:
    names = ("recipes/negationclip_p1", "backends/today", f"backends/{name}")
    loaded_config = load(P1Config, [(n, (CONFIGS / f"{n}.yaml").read_text()) for n in names])
    verifier: Any = loaded_config.verifier
    if name == "negbench_paper_detector":
        owl = verifier.detectors["owlvit"]
        assert (owl.model, owl.prompt, verifier.threshold) == ("google/owlvit-base-patch32", "A photo of {object}", 0.1)
    elif name == "today":
        assert verifier.chat.choices == ("yes", "no")
        assert verifier.chat.images_per_prompt == 1
    else:
        assert verifier.resources().gpus == 0.15
