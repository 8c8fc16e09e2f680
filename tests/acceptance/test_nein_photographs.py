"""Promise: on real photographs the copy-paste editor makes NeIn's quintuplets, and a detector tells which of them show.

Sources are COCO val2017 photographs with captions; what is pasted comes from train2017 photographs. Every pasted object is
there for certain, so that the judge's misses are the filter's losses, and the same objects in the photographs as they were
are its false alarms. The detector knows COCO train2017 only.
"""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from negscale.backends.copy_paste import CopyPasteConfig
from negscale.backends.detector_judge import DetectorJudgeConfig
from negscale.core.backend import Edit, EditRequest, Picture, Verdict
from negscale.core.boxes import intersection
from negscale.core.rng import rng_for, seed_for
from negscale.datasets.images import ImageReader
from negscale.metrics.statistics import wilson_interval
from negscale.storage.audit import audit
from negscale.storage.run_folder import RunFolder
from tests.acceptance.storm import REPO, cli
from tests.acceptance.verdict import verdict

PAIRS_AN_IMAGE, PAIR_IMAGES = 2, 105
RECIPE_IMAGES = 170
LEAST_AUC, LEAST_PAIRED = 0.75, 0.85  # of the judge on pasted against unpasted pairs
LEAST_QUINTUPLETS = 200


def editor_config(data: Path) -> CopyPasteConfig:
    """Bank: train2017; targets: the instances of val2017, where images have them."""
    notes = data / "coco/annotations"
    return CopyPasteConfig(
        annotations=str(notes / "instances_train2017.json"), images=str(data / "coco/train2017"),
        targets=str(notes / "instances_val2017.json"),
    )  # fmt: skip


def judge_config(data: Path) -> DetectorJudgeConfig:
    """The object judge of the shipped fragment."""
    shipped = yaml.safe_load((REPO / "configs/backends/nein_photos_cpu.yaml").read_text())
    values = shipped["filter"]["object_judge"]
    values["detectors"]["yolox"]["model"] = str(data / "models/yolox_nano.onnx")
    return DetectorJudgeConfig.model_validate(values)


def annotated(data: Path) -> dict[int, tuple[str, frozenset[str], list[tuple[float, ...]]]]:
    """Image number -> (file name, classes that are there, boxes) of the annotated val2017 images."""
    document = json.loads((data / "coco/annotations/instances_val2017.json").read_text())
    names = {category["id"]: category["name"] for category in document["categories"]}
    found: dict[int, tuple[str, set[str], list[tuple[float, ...]]]] = {
        image["id"]: (image["file_name"], set(), []) for image in document["images"]
    }
    for one in document["annotations"]:
        found[one["image_id"]][1].add(names[one["category_id"]])
        found[one["image_id"]][2].append((*one["bbox"], one["iscrowd"]))
    return {number: (name, frozenset(there), boxes) for number, (name, there, boxes) in sorted(found.items())}


def auc(positive: Sequence[float], negative: Sequence[float]) -> float:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties a half."""
    above, equal = np.subtract.outer(positive, negative) > 0, np.equal.outer(positive, negative)
    return float(above.mean() + equal.mean() / 2)


@pytest.mark.real_data
@pytest.mark.acceptance
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_judge_tells_pasted_from_unpasted(shared_data: Path) -> None:
    editor, judge = editor_config(shared_data).build(), judge_config(shared_data).build()
    editor.load()
    judge.load()
    assert editor.bank is not None
    print(
        f"\nbank: {len(editor.bank)} instances of {len(editor.subjects)} classes; left out {dict(editor.bank.left_out)}"
    )
    reader, rng = ImageReader(str(shared_data / "coco/val2017")), rng_for(0, "pairs")
    pasted: list[float] = []
    plain: list[float] = []
    sizes: list[float] = []
    by_class: dict[str, list[float]] = {}
    faults: Counter[str] = Counter()
    hidden = outside = 0
    for number, (name, there, boxes) in list(annotated(shared_data).items())[:PAIR_IMAGES]:
        image = reader.read({"uri": name})
        height, width = image.shape[:2]
        absent = [subject for subject in editor.subjects if subject not in there]
        drawn = [absent[int(k)] for k in rng.permutation(len(absent))[:PAIRS_AN_IMAGE]]
        asked = [EditRequest(image, f"Add a {name}.", seed_for(0, number, name), str(number), name) for name in drawn]
        edits = editor.edit(asked)
        faults.update(edit.kind for edit in edits if not isinstance(edit, Edit))
        made = [(subject, edit) for subject, edit in zip(drawn, edits, strict=True) if isinstance(edit, Edit)]
        for _, edit in made:
            left, top, right, bottom = edit.box_xyxy_px or (0.0,) * 4
            outside += not (0 <= left < right <= width and 0 <= top < bottom <= height)
            box = (left, top, right - left, bottom - top)
            hidden += any(
                not crowd and w * h >= 0.01 * width * height and intersection(box, (x, y, w, h)) > 0.55 * w * h
                for x, y, w, h, crowd in boxes
            )
            sizes.append((box[2] * box[3] / (width * height)) ** 0.5)
        before = judge.judge([Picture(image, str(number))] * len(made), [subject for subject, _ in made])
        after = judge.judge([Picture(edit.image, str(number)) for _, edit in made], [subject for subject, _ in made])
        for (subject, _), first, second in zip(made, before, after, strict=True):
            assert isinstance(first, Verdict)
            assert isinstance(second, Verdict)
            plain.append(first.score)
            pasted.append(second.score)
            by_class.setdefault(subject, []).append(second.score)
    threshold = judge_config(shared_data).threshold
    for share in (0.1, 0.2, 0.3, 0.5, 0.7):
        seen, false = np.mean(np.array(pasted) >= share), np.mean(np.array(plain) >= share)
        print(f"  score >= {share:.1f}: {seen:.3f} of the pasted, {false:.3f} of the unpasted")
    order = sorted((float(np.mean(scores)), len(scores), subject) for subject, scores in by_class.items())
    print("  mean score by class:", ", ".join(f"{subject} {mean:.2f} ({n})" for mean, n, subject in order))
    area, paired = auc(pasted, plain), float(np.mean(np.array(pasted) > np.array(plain)))
    low, high = wilson_interval(sum(p > q for p, q in zip(pasted, plain, strict=True)), len(pasted))
    verdict(
        "a detector tells pasted from unpasted",
        len(pasted) >= LEAST_QUINTUPLETS and area >= LEAST_AUC and low >= LEAST_PAIRED and not faults and not outside
        and not hidden,
        pairs=len(pasted), auc=area, higher_when_pasted=paired, interval=f"[{low:.3f}, {high:.3f}]",
        accepted=float(np.mean(np.array(pasted) >= threshold)), false_alarms=float(np.mean(np.array(plain) >= threshold)),
        median_size=float(np.median(sizes)), faults=dict(faults), outside=outside, hiding_a_large_one=hidden,
    )  # fmt: skip


@pytest.mark.real_data
@pytest.mark.acceptance
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_quintuplets_on_photographs(shared_data: Path, tmp_path: Path) -> None:
    """The recipe, by the command line, with the shipped fragment."""
    editor = editor_config(shared_data).build()
    editor.load()
    coco, model = shared_data / "coco", shared_data / "models/yolox_nano.onnx"
    notes = coco / "annotations"
    done = subprocess.run(
        cli(
            "generate", "nein", "-c", "backends/nein_photos_cpu", "source.kind=coco", f"source.root={coco}",
            "source.split=val2017", "source.captions_per_image=1", f"source.limit_images={RECIPE_IMAGES}", "source.shard_rows=32",
            f"editor.annotations={notes / 'instances_train2017.json'}", f"editor.images={coco / 'train2017'}",
            f"editor.targets={notes / 'instances_val2017.json'}",
            f"selection.annotations={{kind: annotation_judge, annotations: {notes / 'instances_val2017.json'}}}",
            f"selection.scorer.detectors.yolox.model={model}", f"filter.object_judge.detectors.yolox.model={model}",
            f"selection.vocabulary={json.dumps(list(editor.subjects))}", "runtime.executor=local",
            f"runtime.run_root={tmp_path}", "--json",
        ), cwd=REPO, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    run = RunFolder(json.loads(done.stdout)["run"])
    assert audit(run).passed
    rows: dict[str, list[dict[str, Any]]] = {
        kind: [row for _, table in run.tables(kind) for row in table.to_pylist()]
        for kind in ("data", "rejected", "quarantine")
    }
    judged = [row for row in rows["rejected"] if row["rejection"]["stage"] == "judge_edit"]
    reasons = Counter(f"{row['rejection']['stage']}/{row['rejection']['reason']}" for row in rows["rejected"])
    kept, made = len(rows["data"]), len(rows["data"]) + len(judged)
    print(f"\n{kept} quintuplets of {made} edits; refused: {dict(reasons)}; quarantined: {len(rows['quarantine'])}")
    truth = annotated(shared_data)
    known = [row for row in rows["data"] if int(row["image_id"]) in truth]
    wrong = sum(row["absent_object"] in truth[int(row["image_id"])][1] for row in known)
    source, store = ImageReader(str(coco)), ImageReader(run.uri)
    changed = unreadable = 0
    for row in rows["data"][:: max(1, kept // 50)]:
        before, after = source.read(row["image"]), store.read(row["image_with_object"])
        unreadable += before.shape != after.shape
        left, top, right, bottom = (int(value) for value in row["edit_box_xyxy_px"])
        changed += np.abs(before[top:bottom, left:right].astype(int) - after[top:bottom, left:right]).mean() > 8
    for row in rows["data"][:: max(1, kept // 20)][:20]:
        print(f"  [{row['absent_object']}] {row['caption']} | {row['add_instruction']} | {row['negative_instruction']}")
    looked = len(rows["data"][:: max(1, kept // 50)])
    low, high = wilson_interval(kept, made)
    verdict(
        "quintuplets on photographs",
        kept >= LEAST_QUINTUPLETS and not rows["quarantine"] and not wrong and not unreadable and changed >= 0.9 * looked,
        quintuplets=kept, edits=made, accept_rate=kept / made, interval=f"[{low:.3f}, {high:.3f}]", reasons=dict(reasons),
        present_in_source_by_annotation=f"{wrong} of {len(known)}", both_images_differ_in_the_box=f"{changed} of {looked}",
    )  # fmt: skip
