"""Which nouns a caption denies, and how often annotations confirm it."""

from __future__ import annotations

import ast
import csv
from pathlib import Path

import pytest

from negscale.backends.annotation_judge import AnnotationJudgeConfig
from negscale.core.backend import Picture
from negscale.scan.agreement import agreement, denied_objects


@pytest.mark.parametrize(
    ("caption", "objects"),
    [
        ("no dogs or cats in the park", ("dog", "cat")), ("a man without a red hat", ("hat",)),
        ("a street with no fire hydrant", ("fire hydrant",)), ("a man not riding a horse", ()), ("no one on the beach", ()),
        ("there is not a single car here", ("car",)), ("a no parking sign", ()), ("a dog in a hat", ()),
    ],
)  # fmt: skip
def test_denied_objects(caption: str, objects: tuple[str, ...]) -> None:
    assert denied_objects(caption) == objects


@pytest.mark.real_data
def test_against_annotations(shared_data: Path) -> None:
    judge = AnnotationJudgeConfig(annotations=str(shared_data / "coco/annotations/instances_val2017.json")).build()
    judge.load()
    with (shared_data / "bench/negbench_coco_negated_retrieval.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    rows = [
        (Picture(None, f"{int(row['image_id']):012d}"), caption)
        for row in table for caption in ast.literal_eval(row["captions"])
    ]  # fmt: skip
    sound = agreement(rows, judge)
    # NegBench chose its absent objects from these annotations: all must agree
    assert sound.decided > 500
    assert (sound.share or 0) > 0.99
    assert sound.low < (sound.share or 0) <= sound.high
    assert sound.undecided["not_annotated"] > 0, "images without annotations are not decided"
    names = ("person", "car", "dog", "chair", "bottle")
    present = [(picture, f"a picture with no {name}") for picture, _ in rows[::5] for name in names]
    shuffled = agreement(present, judge)
    assert 0 < (shuffled.share or 0) < 0.95, "blind denials are often wrong"
    assert len(shuffled.refuted) == 20
