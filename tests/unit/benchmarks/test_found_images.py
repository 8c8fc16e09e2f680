"""From the names in released files to files: author paths, COCO's two namings, equal names, wrong splits."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from negscale.benchmarks.found_images import ImageIndex, locate
from negscale.benchmarks.mcq_neg import MCQ_COCO, MCQ_VOC
from negscale.benchmarks.negrefcocog import NEGREFCOCOG
from negscale.benchmarks.released import ITEM
from negscale.core.errors import ConfigError


def rooted(folder: Path, *paths: str) -> ImageIndex:
    for path in paths:
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
    return ImageIndex.of(str(folder))


def items(*names: str) -> pa.Table:
    return pa.Table.from_pylist(
        [{"id": str(n), "images": [name], "texts": ["x"]} for n, name in enumerate(names)], ITEM
    )


@pytest.mark.parametrize(
    "name",
    [
        "val2017/000000397133.jpg", "/home/author/data/coco/val2017/000000397133.jpg", "000000397133.jpg",
        "D:\\coco\\val2017\\000000397133.JPG", "COCO_val2014_000000397133.jpg", "../x/COCO_train2014_000000397133.jpg",
    ],
)  # fmt: skip
def test_ways_to_name_one_photograph(tmp_path: Path, name: str) -> None:
    index = rooted(tmp_path, "val2017/000000397133.jpg", "val2017/000000000785.jpg")
    assert index.find(name) == "val2017/000000397133.jpg"


def test_the_longest_common_end_decides_and_doubt_finds_nothing(tmp_path: Path) -> None:
    index = rooted(tmp_path, "VOC2007/JPEGImages/004070.jpg", "VOC2012/JPEGImages/004070.jpg", "b/train2017/000000000009.jpg",
                   "a/train2014/COCO_train2014_000000000009.jpg")  # fmt: skip
    assert index.find("data/VOC2012/JPEGImages/004070.jpg") == "VOC2012/JPEGImages/004070.jpg"
    assert index.find("004070.jpg") == ""
    assert index.find("COCO_train2014_000000000009.jpg") == "a/train2014/COCO_train2014_000000000009.jpg"
    assert index.find("val2014/COCO_val2014_000000000009.jpg") == "a/train2014/COCO_train2014_000000000009.jpg"
    assert index.find("toyworld:7/42") == "toyworld:7/42"
    assert locate(items("toyworld:7/42"), ImageIndex.of(""), "drawn scenes").missing == 0
    assert index.find("nothing.jpg") == index.find("") == ""


def test_images_beside_the_benchmarks_file_come_before_others_of_their_name(tmp_path: Path) -> None:
    index = rooted(tmp_path, "mcq_neg/images/a.png", "retrieval_neg/images/a.png")
    file = f"{tmp_path}/retrieval_neg/captions.csv"
    assert locate(items("images/a.png"), index, "ours", file=file).items["images"].to_pylist() == [
        ["retrieval_neg/images/a.png"]
    ]
    with pytest.raises(ConfigError, match="holds 0 of the 1 images"):
        locate(items("images/a.png"), index, "ours")


def test_names_that_differ_in_their_folders_only(tmp_path: Path) -> None:
    asked = items("CheXpert/valid/p1/s1/view1.jpg", "CheXpert/valid/p2/s1/view1.jpg")
    one = rooted(tmp_path / "one", "train/p9/s1/view1.jpg", "train/p9/s2/view1.jpg")
    with pytest.raises(ConfigError, match="holds 0 of the 2 images of CheXpert"):
        locate(asked, one, "CheXpert")
    both = rooted(tmp_path / "both", "valid/p1/s1/view1.jpg", "valid/p2/s1/view1.jpg", "train/p9/s1/view1.jpg")
    found = locate(asked, both, "CheXpert")
    assert found.items["images"].to_pylist() == [["valid/p1/s1/view1.jpg"], ["valid/p2/s1/view1.jpg"]]


def test_another_split_is_refused_and_named(tmp_path: Path) -> None:
    names = [f"VOC2007/JPEGImages/{n:06d}.jpg" for n in range(0, 20, 2)]
    index = rooted(tmp_path, *(f"JPEGImages/{n:06d}.jpg" for n in range(1, 21, 2)))
    with pytest.raises(
        ConfigError, match=r"0 of the 10 images of VOC2007 test, and 10 others that are named alike.*another split"
    ):
        locate(items(*names), index, "VOC2007 test", allow_missing=True)
    few = rooted(tmp_path, "JPEGImages/000000.jpg", "JPEGImages/000002.jpg")
    with pytest.raises(ConfigError, match=r"2 of the 10.*10 others that are named alike.*Missing are .*000004"):
        locate(items(*names), few, "VOC2007 test")
    found = locate(items(*names), few, "VOC2007 test", allow_missing=True)
    assert (found.wanted, found.found, found.missing) == (10, 2, 8)
    assert found.items["images"].to_pylist()[1:3] == [["JPEGImages/000002.jpg"], ["000004.jpg"]]
    other = rooted(tmp_path / "other", "cat.png")
    with pytest.raises(ConfigError, match=r"it holds 1 images such as cat\.png"):
        locate(items(*names), other, "VOC2007 test")
    with pytest.raises(ConfigError, match="holds no image"):
        ImageIndex.of(str(tmp_path / "empty"))


@pytest.mark.real_data
def test_the_wrong_split_of_real_photographs_is_refused(shared_data: Path) -> None:
    questions = MCQ_COCO.items(str(shared_data / "bench/negbench_coco_mcq.csv")).items
    right = ImageIndex.of(str(shared_data / "coco/val2017"))
    assert locate(questions, right, "COCO val2017").missing == 0
    assert locate(questions, ImageIndex.of(str(shared_data / "coco")), "COCO val2017").missing == 0
    with pytest.raises(ConfigError, match=r"holds 0 of the \d+ images of COCO val2017, and 382 others.*another split"):
        locate(questions, ImageIndex.of(str(shared_data / "coco/train2017")), "COCO val2017")
    regions = NEGREFCOCOG.items(str(shared_data / "bench/negrefcocog.json")).items
    assert locate(regions, ImageIndex.of(str(shared_data / "coco")), "COCO train2014").missing == 0
    voc = MCQ_VOC.items(str(shared_data / "text/negbench_voc2007_mcq_llama3.1_rephrased.csv")).items
    with pytest.raises(ConfigError, match="holds 0 of the 4951 images"):
        locate(voc, right, "Pascal VOC2007 test", allow_missing=True)
