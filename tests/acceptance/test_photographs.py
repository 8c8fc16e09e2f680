"""Promise: on real photographs, what the CPU backends call absent is absent.

The runs are made by the command line. Annotations are withheld from proposer, verifier and recipe, and the co-occurrence
statistics are fitted without any of these images; the detectors and their calibration know COCO train2017 only. The
annotations are the truth at the end. A share of absence above 0.88 before verification would mean proposals that are too
easy, and fails.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from negscale.backends.annotation_judge import AnnotationJudgeConfig
from negscale.core.backend import Picture, Verdict
from negscale.metrics.statistics import precision_at_yield, wilson_interval
from negscale.storage.audit import audit
from negscale.storage.run_folder import RunFolder
from tests.acceptance.storm import REPO, cli
from tests.acceptance.verdict import verdict

SEEDS = (0, 1, 2)
YIELDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 0.95)
PROMISED = {0.5: 0.98, 0.75: 0.95}
TOO_EASY = 0.88

Row = Mapping[str, object]


def arguments(data: Path) -> list[str]:
    """What a user types: the shipped fragment with the paths of model, photographs and corpora."""
    coco, text = data / "coco/annotations", data / "text"
    corpora = [
        {"kind": "coco_captions", "path": str(coco / "captions_train2017.json")},
        {"kind": "coco_instances", "path": str(coco / "instances_train2017.json")},
        {
            "kind": "captions_csv", "path": str(text / "COCO_val_retrieval.csv"), "image_column": "image_id",
            "caption_column": "captions", "objects_column": "positive_objects",
        },
        {"kind": "captions_csv", "path": str(data / "flickr8k/captions.csv")},
    ]  # fmt: skip
    return [
        "negationclip_p1", "-c", "backends/photos_cpu", "source.kind=coco", f"source.root={data / 'coco'}",
        "source.split=val2017", f"verifier.detectors.yolox.model={data / 'models/yolox_nano.onnx'}",
        f"proposer.corpora={json.dumps(corpora)}", "runtime.executor=local",
    ]  # fmt: skip


def run_of(root: Path, data: Path, *more: str) -> RunFolder:
    """A finished, audited run made by the command line."""
    done = subprocess.run(
        cli("generate", *arguments(data), f"runtime.run_root={root}", *more, "--json"),
        cwd=REPO, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    run = RunFolder(json.loads(done.stdout)["run"])
    assert audit(run).passed
    return run


def verified_rows(run: RunFolder) -> list[Row]:
    """Every row that came to the verifier, kept or refused, whose image is annotated."""
    columns = ["image_id", "absent_object", "presence_score"]
    return [
        row for kind in ("data", "rejected") for _, table in run.tables(kind, columns) for row in table.to_pylist()
        if row["presence_score"] is not None
    ]  # fmt: skip


def annotated(data: Path, rows: Sequence[Row]) -> list[Row]:
    """Rows of images that the instances file lists."""
    listed = {
        image["id"] for image in json.loads((data / "coco/annotations/instances_val2017.json").read_text())["images"]
    }
    return [row for row in rows if int(str(row["image_id"])) in listed]


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
    scores = scores_of(rows)
    for share in YIELDS:
        kept = precision_at_yield(scores, absent, share)
        wrong = f"({kept.kept - kept.right} of {kept.kept} present)"
        print(f"  yield {share:.2f}: precision {kept.value:.4f} [{kept.low:.4f}, {kept.high:.4f}] {wrong}")


@pytest.mark.real_data
@pytest.mark.acceptance
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_absence_on_photographs_is_true(shared_data: Path, tmp_path: Path) -> None:
    for top_k in (1, 3):
        run = run_of(tmp_path, shared_data, f"proposer.top_k={top_k}", f"runtime.version=top{top_k}")
        rows = annotated(shared_data, verified_rows(run))
        print_curve(f"contextual, top-{top_k}", rows, truly_absent(shared_data, rows))
    by_seed: dict[int, list[Row]] = {}
    for seed in SEEDS:
        run = run_of(tmp_path, shared_data, f"seed={seed}", f"runtime.version=seed{seed}")
        by_seed[seed] = annotated(shared_data, verified_rows(run))
        print_curve(f"contextual, seed {seed}", by_seed[seed], truly_absent(shared_data, by_seed[seed]))
        if seed == 0:
            print_captions(run)
    rows = [row for seed in SEEDS for row in by_seed[seed]]
    absent = truly_absent(shared_data, rows)
    print_curve(f"contextual, seeds {SEEDS}", rows, absent)
    random_run = run_of(tmp_path, shared_data, "strategy=random", "runtime.version=random")
    random_rows = annotated(shared_data, verified_rows(random_run))
    print_curve("Rand-P1 (not scored)", random_rows, truly_absent(shared_data, random_rows))

    first = by_seed[0]
    kept = {share: precision_at_yield(scores_of(first), truly_absent(shared_data, first), share) for share in PROMISED}
    pooled = {share: precision_at_yield(scores_of(rows), absent, share) for share in PROMISED}
    base = sum(absent) / len(absent)
    verdict(
        "absences on photographs are true",
        base <= TOO_EASY
        and all(found[share].value >= least for share, least in PROMISED.items() for found in (kept, pooled)),
        images=len({row["image_id"] for row in first}), proposals=len(first), base_rate=base,
        precision_at_50=kept[0.5].value, interval_at_50=f"[{kept[0.5].low:.4f}, {kept[0.5].high:.4f}]",
        precision_at_75=kept[0.75].value, interval_at_75=f"[{kept[0.75].low:.4f}, {kept[0.75].high:.4f}]",
        three_seeds_at_50=pooled[0.5].value, three_seeds_at_75=pooled[0.75].value,
    )  # fmt: skip


def scores_of(rows: Sequence[Row]) -> list[float]:
    return [float(str(row["presence_score"])) for row in rows]


def print_captions(run: RunFolder) -> None:
    """Twenty negated captions as they came, spread over the run."""
    kept = [row for _, table in run.tables("data") for row in table.to_pylist()]
    print(f"\n{len(kept)} kept; 20 as they came:")
    for row in kept[:: max(1, len(kept) // 20)][:20]:
        print(f"  [{row['absent_object']}] {row['caption']}  ->  {row['negated_caption']}")
