"""Promise: on real photographs, what the CPU backends call absent is absent.

Annotations are withheld from proposer and verifier, and the co-occurrence statistics are fitted without any of these
images; the detectors and their calibration know COCO train2017 only. The annotations are the truth at the end. A share
of absence above 0.88 before verification would mean proposals that are too easy, and fails.

`judged_rows` makes the rows with the two protocols alone; a run folder's rows with the columns image_id, absent_object
and presence_score can take its place.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from time import perf_counter

import pytest

from negscale.backends.annotation_judge import AnnotationJudgeConfig
from negscale.backends.cooccurrence import CooccurrenceConfig, CooccurrenceProposer, prepare
from negscale.backends.corpora import CorpusConfig
from negscale.backends.detector_judge import DetectorJudgeConfig
from negscale.core.backend import Judge, Picture, ProposalRequest, Strategy, Verdict
from negscale.core.config import Config, load
from negscale.core.image import decode
from negscale.core.rng import seed_for
from negscale.metrics.statistics import precision_at_yield, wilson_interval
from tests.acceptance.verdict import verdict

SEEDS = (0, 1, 2)
YIELDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 0.95)
PROMISED = {0.5: 0.98, 0.75: 0.95}
TOO_EASY = 0.88
FRAGMENT = Path(__file__).resolve().parents[2] / "configs" / "backends" / "photos_cpu.yaml"
MODELS = {"yolox": "yolox_nano.onnx", "nanodet": "nanodet_m.onnx", "fastestdet": "FastestDet.onnx"}

Row = Mapping[str, object]


class Fragment(Config):
    """The keys of photos_cpu.yaml that these tests build from."""

    proposer: CooccurrenceConfig
    verifier: DetectorJudgeConfig
    negater: dict[str, str]


def fragment(data: Path) -> Fragment:
    """The shipped config with the paths that a user would give."""
    text = FRAGMENT.read_text()
    names = load(Fragment, [("photos_cpu.yaml", text)]).verifier.detectors
    paths = [f"verifier.detectors.{name}.model={data / 'models' / MODELS[name]}" for name in names]
    config = load(Fragment, [("photos_cpu.yaml", text)], paths)
    coco = data / "coco" / "annotations"
    corpora = (
        CorpusConfig(kind="coco_captions", path=str(coco / "captions_train2017.json")),
        CorpusConfig(kind="coco_instances", path=str(coco / "instances_train2017.json")),
        CorpusConfig(
            kind="captions_csv", path=str(data / "text" / "COCO_val_retrieval.csv"), image_column="image_id",
            caption_column="captions", objects_column="positive_objects",
        ),
        CorpusConfig(kind="captions_csv", path=str(data / "flickr8k" / "captions.csv")),
    )  # fmt: skip
    return config.model_copy(update={"proposer": config.proposer.model_copy(update={"corpora": corpora})})


def val_captions(data: Path) -> tuple[dict[int, list[tuple[int, str]]], list[int]]:
    """(image -> (caption id, caption) for annotated images with captions, every image of the split)."""
    folder = data / "coco" / "annotations"
    captions = json.loads((folder / "captions_val2017.json").read_text())
    instances = json.loads((folder / "instances_val2017.json").read_text())
    annotated = {image["id"] for image in instances["images"]}
    of_image: dict[int, list[tuple[int, str]]] = {}
    for note in captions["annotations"]:
        if note["image_id"] in annotated:
            of_image.setdefault(note["image_id"], []).append((note["id"], note["caption"].strip()))
    return of_image, sorted(annotated | {image["id"] for image in captions["images"]})


def proposed_rows(
    proposer: CooccurrenceProposer, captions: Mapping[int, Sequence[tuple[int, str]]], strategy: Strategy, seed: int
) -> Iterator[tuple[int, str]]:
    """(image id, first candidate) of each caption, as the pipeline's stage would take it."""
    for image, listed in sorted(captions.items()):
        texts = tuple(text for _, text in listed)
        requests = [ProposalRequest(text, texts, strategy, seed_for(seed, str(number))) for number, text in listed]
        for answer in proposer.propose(requests):
            assert isinstance(answer, list), answer
            yield image, answer[0].object


def judged_rows(judge: Judge, folder: Path, proposals: Iterable[tuple[int, str]]) -> list[Row]:
    """Rows with image_id, absent_object and presence_score; equal questions are asked once."""
    wanted: dict[int, dict[str, float]] = {}
    asked = list(proposals)
    for image, name in asked:
        wanted.setdefault(image, {})[name] = 0.0
    for image, scores in wanted.items():
        picture = Picture(decode((folder / f"{image:012d}.jpg").read_bytes()), str(image))
        for name, answer in zip(scores, judge.judge([picture] * len(scores), list(scores)), strict=True):
            assert isinstance(answer, Verdict), answer
            scores[name] = answer.score
    return [{"image_id": str(i), "absent_object": name, "presence_score": wanted[i][name]} for i, name in asked]


def truly_absent(data: Path, rows: Sequence[Row]) -> list[bool]:
    """Whether the annotations lack the object; crowds count as present."""
    truth = AnnotationJudgeConfig(annotations=str(data / "coco" / "annotations" / "instances_val2017.json")).build()
    truth.load()
    answers = truth.judge([Picture(None, str(r["image_id"])) for r in rows], [str(r["absent_object"]) for r in rows])
    assert all(isinstance(answer, Verdict) for answer in answers)
    return [isinstance(answer, Verdict) and not answer.accept for answer in answers]


def print_curve(title: str, rows: Sequence[Row], absent: Sequence[bool]) -> None:
    """Base rate and precision-yield curve."""
    low, high = wilson_interval(sum(absent), len(absent))
    print(
        f"\n{title}: {len(rows)} proposals, absent without verifier {sum(absent) / len(absent):.4f} [{low:.4f}, {high:.4f}]"
    )
    scores = [float(str(row["presence_score"])) for row in rows]
    for share in YIELDS:
        kept = precision_at_yield(scores, absent, share)
        wrong = f"({kept.kept - kept.right} of {kept.kept} present)"
        print(f"  yield {share:.2f}: precision {kept.value:.4f} [{kept.low:.4f}, {kept.high:.4f}] {wrong}")


@pytest.mark.real_data
@pytest.mark.acceptance
@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_absence_on_photographs_is_true(shared_data: Path) -> None:
    config = fragment(shared_data)
    captions, run_images = val_captions(shared_data)
    statistics = prepare(config.proposer, run_images)
    judge = config.verifier.build()
    judge.load()
    folder = shared_data / "coco" / "val2017"

    base_rates: dict[int, float] = {}
    for top_k in (1, 3, config.proposer.top_k):
        proposer = CooccurrenceProposer(config.proposer.model_copy(update={"top_k": top_k}), statistics)
        proposer.load()
        rows = [{"image_id": str(i), "absent_object": o} for i, o in proposed_rows(proposer, captions, "contextual", 0)]
        base_rates[top_k] = sum(truly_absent(shared_data, rows)) / len(rows)
        print(f"\nabsent without verifier, top-{top_k}: {base_rates[top_k]:.4f}")

    proposer = CooccurrenceProposer(config.proposer, statistics)
    proposer.load()
    started = perf_counter()
    proposals = {seed: list(proposed_rows(proposer, captions, "contextual", seed)) for seed in SEEDS}
    rows = judged_rows(judge, folder, [pair for seed in SEEDS for pair in proposals[seed]])
    seconds = perf_counter() - started
    absent = truly_absent(shared_data, rows)
    size = len(proposals[SEEDS[0]])
    for number, seed in enumerate(SEEDS):
        part = slice(number * size, (number + 1) * size)
        print_curve(f"contextual, seed {seed}", rows[part], absent[part])
    print_curve(f"contextual, seeds {SEEDS}", rows, absent)

    random_rows = judged_rows(judge, folder, list(proposed_rows(proposer, captions, "random", 0)))
    print_curve("Rand-P1 (not scored)", random_rows, truly_absent(shared_data, random_rows))

    scores = [float(str(row["presence_score"])) for row in rows]
    kept = {share: precision_at_yield(scores, absent, share) for share in PROMISED}
    base = sum(absent) / len(absent)
    verdict(
        "absences on photographs are true",
        base <= TOO_EASY and all(kept[share].value >= least for share, least in PROMISED.items()),
        images=len(captions), proposals=len(rows), base_rate=base,
        precision_at_50=kept[0.5].value, interval_at_50=f"[{kept[0.5].low:.4f}, {kept[0.5].high:.4f}]",
        precision_at_75=kept[0.75].value, interval_at_75=f"[{kept[0.75].low:.4f}, {kept[0.75].high:.4f}]",
        ms_per_image=seconds * 1000 / len(captions),
    )  # fmt: skip
