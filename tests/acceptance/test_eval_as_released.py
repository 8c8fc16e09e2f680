"""The "as released" column against the released formulas, written anew here: item by item, on the released files.

Vectors are drawn from the names of things, with whole numbers as entries, so that scores tie often and exactly. The formulas
below read the files themselves and share nothing with `negscale.benchmarks` but the vectors.
"""

from __future__ import annotations

import ast
import csv
import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from negscale.benchmarks.catalogue import RELEASED
from negscale.benchmarks.controls import Controls
from negscale.benchmarks.encoding import Vectors, pictures_of, wanted
from negscale.benchmarks.found_images import Located
from negscale.benchmarks.released_run import Evaluated, Prepared, evaluate
from tests.acceptance.verdict import verdict

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(1200)]

WIDTH = 6
NO_CONTROLS = Controls({}, (), float("nan"), {})


def vector(*name: Any) -> np.ndarray:
    """Whole numbers -1, 0 and 1, from a name: dot products are exact, and often equal."""
    digest = sha256(repr(name).encode()).digest()
    return np.array([byte % 3 - 1 for byte in digest[:WIDTH]], np.float32)


def image(path: str, box: Sequence[float] = ()) -> np.ndarray:
    return vector("image", path, tuple(map(float, box)))


def text(said: str) -> np.ndarray:
    return vector("text", " ".join(said.split()))  # blanks are cleaned by CLIP's tokenizer


def evaluated(name: str, *paths: Path) -> Evaluated:
    """What negscale makes of the files."""
    benchmark = RELEASED[name]
    reading = benchmark.items(*map(str, paths))
    pictures, texts = wanted([reading.items])
    vectors = Vectors(
        {picture: at for at, picture in enumerate(pictures)}, {said: at for at, said in enumerate(texts)},
        np.stack([image(p.path, p.box) for p in pictures]), np.stack([text(said) for said in texts]),
    )  # fmt: skip
    located = Located(reading.items, len(pictures), len(pictures))
    return evaluate(Prepared(benchmark, reading, located), vectors, blind=NO_CONTROLS)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


# -- the released formulas ------------------------------------------------------------------------------------------------


def negbench_mcq(path: Path) -> list[float]:
    """mcq.py: the index of the largest similarity, of equal ones the first, against `correct_answer`."""
    found = []
    for row in rows_of(path):
        options = [row[key] for key in sorted(key for key in row if key.startswith("caption_"))]
        scores = [float(image(row["image_path"]) @ text(option)) for option in options]
        found.append(float(scores.index(max(scores)) == int(row["correct_answer"])))
    return found


def valse(path: Path, least: int = 0) -> list[float]:
    """acc_r: the caption scores more than the foil."""
    found = []
    for item in json.loads(path.read_text()).values():
        if item["mturk"]["caption"] >= least:
            seen = image(item["image_file"])
            found.append(float(seen @ text(item["caption"]) > seen @ text(item["foil"])))
    return found


def sugarcrepe(path: Path) -> list[float]:
    """The positive caption scores more than the negative one."""
    return [
        float(
            image(item["filename"]) @ text(item["caption"]) > image(item["filename"]) @ text(item["negative_caption"])
        )
        for item in json.loads(path.read_text()).values()
    ]


def negrefcocog(path: Path) -> list[float]:
    """negrefcocog_eval.py: the box of np.argmax over the crops equals `ref_bbox`."""
    found = []
    for item in json.loads(path.read_text()):
        scores = [image(item["image"], box) @ text(item["phrase"]) for box in item["bbox_list"]]
        found.append(float(item["bbox_list"][int(np.argmax(scores))] == item["ref_bbox"]))
    return found


def cc_neg(path: Path) -> list[float]:
    """argmax over (caption, negated caption), right when it is the first."""
    content = json.loads(path.read_text())
    found = []
    for name, note in zip(content["image_paths"], content["annotations"], strict=True):
        pair = [note["json"]["caption"], note["sop_data"]["negative-prompt"]]
        found.append(float(np.argmax([image(name) @ text(said) for said in pair]) == 0))
    return found


def winoground(path: Path) -> list[tuple[float, float, float]]:
    """Text, image and group score; every comparison is strict."""
    found = []
    for row in rows_of(path):
        i0, i1, c0, c1 = (
            image(row["image_a"]), image(row["image_b"]), text(row["caption_a"]), text(row["caption_b"])
        )  # fmt: skip
        by_text = i0 @ c0 > i0 @ c1 and i1 @ c1 > i1 @ c0
        by_image = i0 @ c0 > i1 @ c0 and i1 @ c1 > i0 @ c1
        found.append((float(by_text), float(by_image), float(by_text and by_image)))
    return found


def negbench_recall(path: Path, k: int) -> tuple[list[float], list[float]]:
    """retrieval.py: is any right item among the k best? Equal scores in the file's order. (captions, images)."""
    captions: dict[str, list[str]] = {}
    for row in rows_of(path):
        cell = row["captions"].strip()
        captions.setdefault(row["filepath"], []).extend(ast.literal_eval(cell) if cell.startswith("[") else [cell])
    owner = [at for at, (_, said) in enumerate(captions.items()) for _ in said]
    scores = (
        np.stack([text(one) for said in captions.values() for one in said]) @ np.stack(list(map(image, captions))).T
    )
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    by_text = [float(right in found) for right, found in zip(owner, best, strict=True)]
    best = np.argsort(-scores.T, axis=1, kind="stable")[:, :k]
    by_image = [float(any(owner[text] == at for text in found)) for at, found in enumerate(best)]
    return by_text, by_image


# -- on the released files ------------------------------------------------------------------------------------------------


def compare(what: str, found: Evaluated, wanted_credits: Sequence[float]) -> None:
    """Every item's credit, and the mean in the cell."""
    released = found.rows["released_credit"].to_pylist()
    shared = np.array(found.rows["credit"].to_pylist())
    ties = int(((shared > 0) & (shared < 1)).sum())
    score = found.figures[0]
    assert score.as_released is not None
    mean = float(np.mean(wanted_credits))
    verdict(
        f"as released, {what}: every item as by the formula written anew",
        released == list(wanted_credits) and abs(score.as_released.value - mean) < 1e-12 and ties > 0
        and (score.as_released.count, score.as_released.missing) == (len(wanted_credits), 0),
        items=len(released), as_released=score.as_released.value, ties=ties, ties_shared=score.estimate.value,
    )  # fmt: skip


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("negbench/mcq-coco", "text/COCO_val_mcq_llama3.1_rephrased.csv"),
        ("negbench/mcq-coco", "bench/negbench_coco_mcq_shuffled.csv"),
        ("negbench/mcq-voc2007", "text/negbench_voc2007_mcq_llama3.1_rephrased.csv"),
    ],
)
def test_negbench_questions(shared_data: Path, name: str, file: str) -> None:
    compare(f"{name} {file.partition('/')[0]}", evaluated(name, shared_data / file), negbench_mcq(shared_data / file))


@pytest.mark.real_data
def test_pairs_of_captions(shared_data: Path) -> None:
    existence = shared_data / "text/valse_existence.json"
    compare("VALSE existence, all 534", evaluated("valse/existence", existence), valse(existence))
    compare(
        "VALSE existence, the 505 validated", evaluated("valse/existence-validated", existence), valse(existence, 2)
    )
    pieces = sorted((shared_data / "bench").glob("valse_*.json"))
    compare("VALSE pieces", evaluated("valse/pieces", *pieces), [c for path in pieces for c in valse(path, 2)])
    kinds = sorted((shared_data / "bench").glob("sugarcrepe_*.json"))
    compare("SugarCrepe", evaluated("sugarcrepe", *kinds), [c for path in kinds for c in sugarcrepe(path)])


@pytest.mark.real_data
def test_regions(shared_data: Path) -> None:
    path = shared_data / "text/NegRefCOCOg.json"
    compare("NegRefCOCOg", evaluated("negrefcocog", path), negrefcocog(path))


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("negbench/retrieval-coco", "negbench_coco_retrieval.csv"),
        ("negbench/retrieval-neg-coco", "negbench_coco_negated_retrieval.csv"),
        ("negbench/retrieval-neg-coco-templated", "negbench_coco_negated_retrieval_template.csv"),
    ],
)
def test_retrieval(shared_data: Path, name: str, file: str) -> None:
    path = shared_data / "bench" / file
    found = evaluated(name, path)
    right, values = True, {}
    table = found.rows.to_pylist()
    for k in (1, 5, 10):
        anew = dict(zip(("text_to_image", "image_to_text"), negbench_recall(path, k), strict=True))
        for direction, hits in anew.items():
            mine = [float(row["above"] + row["before"] < k) for row in table if row["direction"] == direction]
            score = next(one for one in found.figures if one.name == f"{direction}/recall@{k}")
            assert score.as_released is not None
            right &= mine == hits and abs(score.as_released.value - float(np.mean(hits))) < 1e-12
            values[f"{direction[:1]}2{direction[-5:][:1]}@{k}"] = score.as_released.value
    tied = sum(row["tied"] > row["positives"] for row in table)
    verdict(
        f"as released, {name}: every caption and image as by the formula written anew", right and tied > 0,
        captions=sum(row["direction"] == "text_to_image" for row in table), tied=tied, **values,
    )  # fmt: skip


def test_sets_whose_files_are_not_at_hand_in_their_layout(tmp_path: Path) -> None:
    """CC-Neg, 2 x 2 groups, HardNeg-Syn and radiographs: drawn texts in the released layouts."""
    words = ("dog", "cat", "car", "tree", "hat", "road", "boat", "bird")
    names = [f"{a} and {b}" for a in words for b in words]
    notes = [{"json": {"caption": f"A {n}"}, "sop_data": {"negative-prompt": f"No {n}"}} for n in names]
    ccneg = tmp_path / "ccneg_rows.json"
    ccneg.write_text(json.dumps({"image_paths": [f"{at}.jpg" for at in range(len(names))], "annotations": notes}))
    compare("CC-Neg", evaluated("cc-neg", ccneg), cc_neg(ccneg))
    for name, file, options in (
        ("negbench/mcq-hardneg-syn", "synthetic_mcq.csv", 4), ("negbench/mcq-binary-medical", "chexpert_binary.csv", 2)
    ):  # fmt: skip
        path = tmp_path / file
        head = ["image_path", "correct_answer", *(f"caption_{n}" for n in range(options))]
        lines = [
            ",".join([f"{at}.png", str(at % 2), *(f"{n} {said}" for n in range(options))])
            for at, said in enumerate(names)
        ]
        path.write_text("\n".join([",".join(head), *lines]) + "\n")
        compare(name, evaluated(name, path), negbench_mcq(path))
    groups = tmp_path / "two_by_two.csv"
    lines = [f"{a}.png,{b}.png,a {a},a {b}" for a in words for b in words if a != b]
    groups.write_text("\n".join(["image_a,image_b,caption_a,caption_b", *lines]) + "\n")
    found, anew = evaluated("two-by-two", groups), winoground(groups)
    mine = list(
        zip(*(found.rows[f"released_{part}_credit"].to_pylist() for part in ("text", "image", "group")), strict=True)
    )
    values = {score.name: score.as_released.value for score in found.figures if score.as_released}
    verdict(
        "as released, 2 x 2 groups: every group as by the formula written anew", mine == anew and len(values) == 3,
        groups=len(anew), **values,
    )  # fmt: skip


# -- by hand --------------------------------------------------------------------------------------------------------------

UP, RIGHT, BOTH = (0.0, 1.0), (1.0, 0.0), (0.6, 0.8)


def by_hand(name: str, path: Path, shown: Mapping[Any, Any], said: Mapping[str, Any]) -> Evaluated:
    """An evaluation with vectors of two numbers, by image (or box) and text."""
    benchmark = RELEASED[name]
    reading = benchmark.items(str(path))
    pictures = sorted({picture for row in pictures_of(reading.items) for picture in row})
    known = [picture for picture in pictures if (picture.box or picture.path) in shown]
    vectors = Vectors(
        {picture: at for at, picture in enumerate(known)}, {text: at for at, text in enumerate(said)},
        np.array([shown[picture.box or picture.path] for picture in known], np.float32),
        np.array(list(said.values()), np.float32),
    )  # fmt: skip
    return evaluate(Prepared(benchmark, reading, Located(reading.items, 1, 1)), vectors, blind=NO_CONTROLS)


def test_ties_and_missing_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "coco_mcq.csv"
    path.write_text(
        "image_path,correct_answer,caption_0,caption_1,caption_2,caption_3\n"
        "up,0,up,right,both,other\n"  # one best, right
        "up,1,up,right,both,other\n"  # one best, wrong
        "up,1,up,again,both,other\n"  # two best, the second is right: released wrong, shared 1/2
        "up,0,up,again,both,other\n"  # two best, the first is right: released right, shared 1/2
        "right,3,up,again,up,again\n"  # four best: shared 1/4
        "lost,0,up,again,both,other\n"  # no image: missing, in neither column
    )
    said = {"up": UP, "again": UP, "right": RIGHT, "both": BOTH, "other": (-1.0, 0.0)}
    found = by_hand("negbench/mcq-coco", path, {"up": UP, "right": RIGHT}, said)
    score = found.figures[0]
    assert score.as_released is not None
    released, shared = ([row[c] for row in found.rows.to_pylist()] for c in ("released_credit", "credit"))
    verdict(
        "by hand, four options: ties to the first as released, shared beside it, missing in neither",
        released == [1, 0, 0, 1, 0, None] and shared == [1, 0, 0.5, 0.5, 0.25, None]
        and (score.as_released.value, score.estimate.value) == (2 / 5, 2.25 / 5) and score.estimate.missing == 1,
        as_released=score.as_released.value, shared=score.estimate.value, missing=score.estimate.missing,
    )  # fmt: skip


def test_strict_pairs_and_boxes_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "sugarcrepe_swap_obj.json"
    pairs = [("up", "right"), ("right", "up"), ("up", "again")]
    path.write_text(json.dumps({
        str(n): {"filename": "up", "caption": a, "negative_caption": b} for n, (a, b) in enumerate(pairs)
    }))  # fmt: skip
    found = by_hand("sugarcrepe", path, {"up": UP}, {"up": UP, "again": UP, "right": RIGHT})
    released, shared = ([row[c] for row in found.rows.to_pylist()] for c in ("released_credit", "credit"))
    boxes = tmp_path / "negrefcocog.json"
    first, second = [0.0, 0.0, 1.0, 1.0], [1.0, 0.0, 1.0, 1.0]
    boxes.write_text(json.dumps([
        {"image": "i", "phrase": phrase, "ref_bbox": ref, "bbox_list": [first, second]}
        for phrase, ref in (("up", first), ("up", second), ("both", first), ("tie", second), ("tie", first))
    ]))  # fmt: skip
    shown = {tuple(first): UP, tuple(second): RIGHT}
    regions = by_hand("negrefcocog", boxes, shown, {"up": UP, "both": BOTH, "tie": (1.0, 1.0)})
    by_release, by_share = ([row[c] for row in regions.rows.to_pylist()] for c in ("released_credit", "credit"))
    verdict(
        "by hand, pairs lose a tie as released, boxes win it when first; both share it beside",
        released == [1, 0, 0] and shared == [1, 0, 0.5] and by_release == [1, 0, 1, 0, 1]
        and by_share == [1, 0, 1, 0.5, 0.5], pairs=released, boxes=by_release,
    )  # fmt: skip


def test_images_with_many_captions_by_hand(tmp_path: Path) -> None:
    """Three images with 2, 1 and 3 captions, one image in two rows, two captions that tie."""
    path = tmp_path / "coco_retrieval.csv"
    path.write_text("filepath,captions\na,\"['up', 'right']\"\nb,right again\nc,\"['both', 'up']\"\nc,\"['left']\"\n")
    shown = {"a": UP, "b": RIGHT, "c": BOTH}
    said = {"up": UP, "right": RIGHT, "right again": RIGHT, "both": BOTH, "left": (-1.0, 0.0)}
    found = by_hand("negbench/retrieval-coco", path, shown, said)
    # captions in order: a/up a/right b/right-again c/both c/up c/left; scores with a, b, c:
    # up 0 1 .8 -> a; right 0 1 .6 -> b; both .8 .6 1 -> c; left 0 -1 -.6 -> a (c third... second best is c)
    by_text = {"recall@1": 3 / 6, "recall@5": 1.0}  # a/up, b/right again, c/both are first
    # images: a's best captions are up and c's up (tie, a's first); b's right (a's!) and right again tie, a's stands first
    by_image = {"recall@1": 2 / 3, "recall@5": 1.0}
    shared = {"text_to_image/recall@1": 3 / 6, "image_to_text/recall@1": (0.5 + 0.5 + 1) / 3}
    scores = {score.name: score for score in found.figures}
    released = {n: s.as_released.value for n, s in scores.items() if s.as_released is not None}
    wanted_values = {
        **{f"text_to_image/{k}": v for k, v in by_text.items()}, **{f"image_to_text/{k}": v for k, v in by_image.items()}
    }  # fmt: skip
    verdict(
        "by hand, retrieval with many captions an image: one item a picture, ties in the file's order as released",
        len(set(found.rows["image_id"].to_pylist())) == 3 and all(abs(released[n] - v) < 1e-12 for n, v in wanted_values.items())
        and all(abs(scores[n].estimate.value - v) < 1e-12 for n, v in shared.items()),
        released={n: round(v, 4) for n, v in released.items()}, shared=shared,
    )  # fmt: skip


def test_truncation_by_hand(tmp_path: Path) -> None:
    """Two captions that differ behind the 77th token are one text to the model, and both are counted as cut."""
    pytest.importorskip("open_clip")
    from negscale.backends.dual_encoders import OpenClipEncoderConfig
    from negscale.benchmarks.cells import read_suite
    from negscale.benchmarks.suite_config import SuiteConfig
    from negscale.suite import run_suite
    from tests.unit.backends.made_vision import make_open_clip
    from tests.unit.benchmarks.files import png

    start = "a dog " * 40
    (tmp_path / "data").mkdir()
    (tmp_path / "data/coco_mcq.csv").write_text(
        f"image_path,correct_answer,caption_0,caption_1\na.png,1,{start} and no cat,{start} and a cat\nb.png,0,a dog,no dog\n"
    )
    for name, colour in (("a", (200, 10, 10)), ("b", (10, 200, 10))):
        png(tmp_path / f"images/{name}.png", colour)
    (tmp_path / "model").mkdir()
    name, path = make_open_clip(tmp_path / "model")
    config = SuiteConfig.model_validate({
        "data_root": str(tmp_path / "data"), "image_root": str(tmp_path / "images"),
        "models": {"m": OpenClipEncoderConfig(model=name, path=str(path))},
        "runtime": {"executor": "local", "run_root": str(tmp_path / "runs")},
    })  # fmt: skip
    suite = read_suite(run_suite(config).suite.uri)
    cell, (row, _) = suite.cells["negbench/mcq-coco", "m"], suite.items("negbench/mcq-coco", "m").to_pylist()
    verdict(
        "by hand, captions that differ behind the 77th token score the same and are counted",
        abs(row["scores"][0] - row["scores"][1]) < 1e-6 and cell.notes["texts cut by the model"] == 2,
        scores=row["scores"], cut=cell.notes["texts cut by the model"],
    )  # fmt: skip
