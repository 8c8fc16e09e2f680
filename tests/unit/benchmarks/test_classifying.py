"""Zero-shot classes and attributes: credits by hand, the released layouts, and a real model on drawn scenes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from negscale.benchmarks.catalogue import released, survey
from negscale.benchmarks.celeba import CELEBA, parse_prompts, prompts
from negscale.benchmarks.classifying import CLASS_SCORE, balanced, class_table
from negscale.benchmarks.encoding import Vectors
from negscale.benchmarks.evaluation import score as figures_of
from negscale.benchmarks.figures import metrics_of
from negscale.benchmarks.imagenet import (
    ZERO_SHOT_1,
    ZERO_SHOT_7,
    ZERO_SHOT_80,
    class_names,
    parse_templates,
    template_sets,
)
from negscale.benchmarks.pictures import Picture
from negscale.benchmarks.released import ITEM
from negscale.core.errors import ConfigError, PlanError

LABELS = "file,imagenet_class_index\nILSVRC2012_val_00000001.JPEG,1\nb.JPEG,0\n"


def items_of(*rows: dict[str, object]) -> pa.Table:
    whole = [
        {"boxes_xywh_px": None, "answer": None, "type": "", "group": "", "id": str(n), **row}
        for n, row in enumerate(rows)
    ]
    return pa.Table.from_pylist(whole, ITEM)


def vectors_of(pictures: dict[str, tuple[float, ...]], texts: dict[str, tuple[float, ...]]) -> Vectors:
    return Vectors(
        {Picture(path): at for at, path in enumerate(pictures)}, {text: at for at, text in enumerate(texts)},
        np.array(list(pictures.values()), np.float32), np.array(list(texts.values()), np.float32),
    )  # fmt: skip


def three_classes(*images: tuple[str, int]) -> pa.Table:
    classes = [{"images": [], "texts": [f"{name} 1", f"{name} 2"], "group": name} for name in ("cat", "dog", "owl")]
    names = ("cat", "dog", "owl")
    return items_of(*classes, *({"images": [p], "texts": [], "answer": at, "group": names[at]} for p, at in images))


def test_a_class_is_the_mean_of_its_sentences_and_ties_are_shared() -> None:
    items = three_classes(("x", 0), ("y", 1), ("z", 2), ("tie", 1), ("gone", 0))
    texts: dict[str, tuple[float, ...]] = {
        "cat 1": (1, 0, 0), "cat 2": (0, 1, 0), "dog 1": (0, 0, 1), "dog 2": (0, 0, 1), "owl 1": (0, 0, 1), "owl 2": (0, 0, 1),
    }  # fmt: skip
    half = 0.5**0.5
    pictures: dict[str, tuple[float, ...]] = {"x": (half, half, 0), "y": (1, 0, 0), "z": (0, 0, 1), "tie": (0, 0, 1)}
    rows = class_table(items, vectors_of(pictures, texts))
    assert rows.schema.equals(CLASS_SCORE)
    assert rows["credit"].to_pylist() == [1.0, 0.0, 0.5, 0.5, None]
    assert rows["released_credit"].to_pylist() == [1.0, 0.0, 0.0, 1.0, None]  # argmax: the first of equals
    assert rows["above"].to_pylist() == [0, 1, 0, 0, -1]
    assert rows["chosen"].to_pylist()[:3] == ["cat", "cat", "dog"]
    assert rows["margin"].to_pylist()[1] == pytest.approx(-half)
    scores = {one.name: one for one in figures_of(rows, metrics_of("classify"))}
    assert scores["accuracy"].estimate.value == pytest.approx(0.5)
    assert scores["accuracy"].estimate.missing == 1
    assert scores["top5_accuracy"].estimate.value == 1.0
    # cat 1 of 1 scored, dog (0 + .5) / 2, owl .5
    assert scores["mean_class_accuracy"].estimate.value == pytest.approx((1 + 0.25 + 0.5) / 3)
    released = scores["mean_class_accuracy"].as_released
    assert released is not None
    assert released.value == pytest.approx((1 + 0.5 + 0) / 3)


def test_a_model_without_an_opinion_has_chance_and_a_lost_class_is_missing() -> None:
    items = three_classes(("x", 0), ("y", 0), ("z", 0))
    same: dict[str, tuple[float, ...]] = {f"{name} {n}": (1.0, 0.0) for name in ("cat", "dog", "owl") for n in (1, 2)}
    pictures: dict[str, tuple[float, ...]] = {"x": (1, 0), "y": (1, 0), "z": (1, 0)}
    rows = class_table(items, vectors_of(pictures, same))
    assert rows["credit"].to_pylist() == pytest.approx([1 / 3] * 3)
    assert rows["released_credit"].to_pylist() == [1.0] * 3  # what the released code makes of it
    some = {text: vector for text, vector in same.items() if not text.startswith("owl")}
    assert class_table(items, vectors_of(pictures, some))["credit"].to_pylist() == [None] * 3
    broken = items_of({"images": [], "texts": ["cat 1"], "group": "a"}, {"images": ["x"], "texts": [], "answer": 3})
    with pytest.raises(PlanError, match=r"answers 3\.\.3"):
        class_table(broken, vectors_of(pictures, same))


def test_balanced_accuracy_weighs_questions_and_classes_alike() -> None:
    types = ["hat"] * 10 + ["beard"] * 2
    groups = ["affirmed"] * 9 + ["negated"] + ["affirmed", "negated"]
    credit = np.array([1.0] * 9 + [0.0] + [1.0, 1.0])
    found = balanced(credit, types, groups, [f"{n}" for n in range(12)], "test")
    assert found.value == pytest.approx(((1 + 0) / 2 + 1) / 2)
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high
    with_gap = balanced(np.array([*credit[:9], np.nan, 1.0, 1.0]), types, groups, [f"{n}" for n in range(12)], "test")
    assert (with_gap.count, with_gap.missing) == (11, 1)
    assert np.isnan(balanced(np.array([np.nan]), ["a"], ["b"], ["c"], "test").value)


def test_templates_are_clip_s(tmp_path: Path) -> None:
    sets = template_sets()
    assert {name: len(sentences) for name, sentences in sets.items()} == {"openai-80": 80, "openai-7": 7, "single": 1}
    meta = pytest.importorskip("open_clip.zero_shot_metadata")
    assert list(sets["openai-80"]) == [write("{}") for write in meta.OPENAI_IMAGENET_TEMPLATES]
    assert list(sets["openai-7"]) == [write("{}") for write in meta.SIMPLE_IMAGENET_TEMPLATES]
    with pytest.raises(ConfigError, match="once"):
        parse_templates("sets: {mine: [a photo]}", "t.yaml")


@pytest.mark.parametrize(
    ("file", "text", "names"),
    [
        ("classnames.txt", "tench\ngreat white shark, white shark\n", ["tench", "great white shark, white shark"]),
        ("LOC_synset_mapping.txt", "n01440764 tench, Tinca tinca\nn01443537 goldfish\n", ["tench", "goldfish"]),
        ("imagenet_class_index.json", '{"0": ["n01440764", "tench"], "1": ["n01484850", "great_white_shark"]}',
         ["tench", "great white shark"]),
    ],
)  # fmt: skip
def test_names_of_classes_are_the_user_s(tmp_path: Path, file: str, text: str, names: list[str]) -> None:
    (tmp_path / "labels.csv").write_text(LABELS)
    with pytest.raises(ConfigError, match=r"put classnames\.txt"):
        ZERO_SHOT_1.items(str(tmp_path / "labels.csv"))
    (tmp_path / file).write_text(text)
    assert class_names(str(tmp_path))[0] == names
    items = ZERO_SHOT_7.items(str(tmp_path / "labels.csv")).items.to_pylist()
    assert [row["images"] for row in items] == [[], [], ["ILSVRC2012_val_00000001.JPEG"], ["b.JPEG"]]
    assert [row["answer"] for row in items] == [None, None, 1, 0]
    assert items[0]["texts"][0] == f"itap of a {names[0]}."
    assert len(ZERO_SHOT_80.items(str(tmp_path / "labels.csv")).items["texts"][1].as_py()) == 80


def test_other_label_files_and_what_does_not_fit(tmp_path: Path) -> None:
    (tmp_path / "LOC_synset_mapping.txt").write_text("n01440764 tench\nn01443537 goldfish\n")
    kaggle, caffe = tmp_path / "LOC_val_solution.csv", tmp_path / "val.txt"
    kaggle.write_text("ImageId,PredictionString\nILSVRC2012_val_00000009,n01443537 1 2 3 4 n01443537 5 6 7 8\n")
    caffe.write_text("ILSVRC2012_val_00000003.JPEG 1\n")
    assert ZERO_SHOT_1.items(str(kaggle)).items.to_pylist()[2]["images"] == ["ILSVRC2012_val_00000009.JPEG"]
    assert ZERO_SHOT_1.items(str(kaggle)).items.to_pylist()[2]["answer"] == 1
    assert ZERO_SHOT_1.items(str(caffe)).items.to_pylist()[2]["answer"] == 1
    caffe.write_text("ILSVRC2012_val_00000003.JPEG 2\n")
    with pytest.raises(ConfigError, match="'2' is none of the 2"):
        ZERO_SHOT_1.items(str(caffe))
    (tmp_path / "labels.csv").write_text("picture,what\na,1\n")
    with pytest.raises(ConfigError, match="expected one of the columns file"):
        ZERO_SHOT_1.items(str(tmp_path / "labels.csv"))


def celeba(folder: Path, *lines: str, partition: str = "") -> str:
    head = ["3", "Eyeglasses No_Beard"]
    (folder / "list_attr_celeba.txt").write_text("\r\n".join([*head, *lines]) + "\r\n")
    if partition:
        (folder / "list_eval_partition.txt").write_text(partition)
    return str(folder / "list_attr_celeba.txt")


def test_attributes_are_read_as_released(tmp_path: Path) -> None:
    path = celeba(tmp_path, "000001.jpg  1 -1", "000002.jpg -1  1", "000003.jpg -1 -1")
    rows = [row for row in CELEBA.items(path).items.to_pylist() if row["images"]]
    assert [(row["images"][0], row["type"], row["group"]) for row in rows] == [
        ("000001.jpg", "Eyeglasses", "affirmed"), ("000002.jpg", "Eyeglasses", "negated"),
        ("000003.jpg", "Eyeglasses", "negated"), ("000001.jpg", "No_Beard", "affirmed"),
        ("000002.jpg", "No_Beard", "negated"), ("000003.jpg", "No_Beard", "affirmed"),  # a beard is there where the label is -1
    ]  # fmt: skip
    split = celeba(
        tmp_path, "000001.jpg 1 -1", "000002.jpg -1 1", "000003.jpg -1 -1", partition="000001.jpg 0\n000002.jpg 2\n"
    )
    assert {row["images"][0] for row in CELEBA.items(split).items.to_pylist() if row["images"]} == {"000002.jpg"}
    with pytest.raises(ConfigError, match="line 3"):
        CELEBA.items(celeba(tmp_path, "000002.jpg 1 0"))
    (tmp_path / "list_attr_celeba.txt").write_text("1\nEyeglasses Has_Cat\n000002.jpg 1 1\n")
    with pytest.raises(ConfigError, match="no sentences for Has_Cat"):
        CELEBA.items(path)


def test_forty_pairs_differ_by_a_negation() -> None:
    found = prompts()
    assert len(found) == 40
    words = {"no", "not", "without"}
    for name, pair in found.items():
        assert words & set(pair.negated.split()), name
        assert not words & set(pair.affirmed.split()), name
        assert pair.affirmed_label == (-1 if name == "No_Beard" else 1)
    with pytest.raises(ConfigError, match=r"Hat\.negated"):
        parse_prompts("Hat: {affirmed: a hat}", "p.yaml")
    with pytest.raises(ConfigError, match="both sentences"):
        parse_prompts(json.dumps({"Hat": {"affirmed": "a hat", "negated": "a hat"}}), "p.yaml")


def test_probe_figures_and_the_model_that_never_hears_no(tmp_path: Path) -> None:
    items = CELEBA.items(celeba(tmp_path, "000001.jpg 1 -1", "000002.jpg -1 1", "000003.jpg -1 -1")).items
    words, texts = {"no", "not", "without"}, {text for row in items["texts"].to_pylist() for text in row}
    vectors = {text: (0.9, 0.1) if words & set(text.split()) else (1.0, 0.0) for text in texts}
    pictures: dict[str, tuple[float, ...]] = {f"00000{n}.jpg": (1.0, 0.0) for n in (1, 2, 3)}
    deaf = class_table(items, vectors_of(pictures, vectors))
    scores = {one.name: one.estimate.value for one in figures_of(deaf, metrics_of("probe"), "type")}
    assert scores == {"balanced_accuracy": 0.5, "affirmed_recall": 1.0, "negated_recall": 0.0}
    parts = figures_of(deaf, metrics_of("probe"), "type")[0].groups
    assert set(parts) == {"Eyeglasses", "No_Beard"}


def test_the_catalogue_finds_them(tmp_path: Path) -> None:
    celeba(tmp_path, "000001.jpg 1 -1")
    (tmp_path / "imagenet").mkdir()
    (tmp_path / "imagenet/labels.csv").write_text(LABELS)
    assert {one.benchmark.name for one in survey(str(tmp_path))[0]} == {
        "celeba/attributes", "imagenet/zero-shot-80", "imagenet/zero-shot-7", "imagenet/zero-shot-1"
    }  # fmt: skip
    assert released("imagenet/zero-shot-1").task == "classify"
