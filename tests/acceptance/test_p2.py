"""Promises of negationclip_p2: one digest from the loop and from Ray; kept captions are true.

On drawn scenes the drawing is the truth, for objects, attributes and actions, and the annotators err. There is no VQA
among the real data, so the photographs' questions are *made here* from COCO's instance annotations ("Is there a dog in
the picture?" for each category that is absent, and for those present), with ten simulated annotators who know the
annotations and err at times. The photographs and captions are real; questions and answers are not, and are about objects
only: what is measured there is the merging, its check, and how often the captions overrule the annotations.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from negscale.core.rng import rng_for
from negscale.core.run import Manifest
from negscale.datasets.toy_scenes import scene
from negscale.language.lexicon.classes import COCO_80
from negscale.language.nouns import indefinite, is_plural, is_uncountable, plural
from negscale.metrics.statistics import wilson_interval
from negscale.storage.audit import audit
from negscale.storage.run_folder import RunFolder
from tests.acceptance.storm import Driver, cli
from tests.acceptance.verdict import verdict
from tests.toy_truth import holds, words_in_order

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(1800)]

STAGES = ("select_no_answer", "skip_invisible", "label_negation", "caption_from_no", "check_merged_caption")
SAMPLES = 20
ERROR_RATES = (0.02, 0.02, 0.02, 0.1, 0.3)
Row = Mapping[str, Any]


def finish(arguments: Sequence[str], root: Path) -> tuple[Manifest, RunFolder]:
    """A finished, audited run made by the command line."""
    command = cli("generate", "negationclip_p2", *arguments, f"runtime.run_root={root}")
    driver = Driver(command, root.parent / f"{root.name}.log")
    code = driver.wait(900)
    assert code == 0, f"exit code {code}:\n{driver.tail()}"
    run = RunFolder(str(root / "negationclip/p2/dev"))
    report = audit(run)
    assert report.passed, report.problems
    manifest = run.manifest()
    assert manifest is not None
    return manifest, run


def on_ray(workers: int) -> list[str]:
    pools = [f"runtime.actors.{stage}={workers}" for stage in STAGES]
    return ["runtime.executor=ray", "runtime.ray_cpus=10", *pools]


def kept_rows(run: RunFolder) -> list[Row]:
    return [row for _, table in run.tables("data") for row in table.to_pylist()]


def report(title: str, manifest: Manifest, rows: Sequence[Row]) -> None:
    """Counts, reject table, samples."""
    print(f"\n{title}: {manifest.rows_read} questions, {manifest.rows_kept} kept, {manifest.rows_rejected} refused, "
          f"{manifest.rows_quarantined} quarantined")  # fmt: skip
    for name, count in sorted(manifest.rejected.items(), key=lambda item: -item[1]):
        print(f"  {count:6d}  {name}")
    for column in ("negation_kind", "negation_form", "negation_position"):
        print(f"  {column}: {dict(Counter(row[column] for row in rows).most_common())}")
    for row in rows[:: max(1, len(rows) // SAMPLES)][:SAMPLES]:
        print(f"  [{row['negation_kind']}] {row['question']} | {row['caption']} -> {row['negated_caption']}")


def precision(truths: Sequence[bool | None]) -> tuple[float, str]:
    """Share of denials that hold, of those that the truth can tell, with its 95 % interval."""
    told = [truth for truth in truths if truth is not None]
    right = sum(not truth for truth in told)
    low, high = wilson_interval(right, len(told))
    return right / len(told), f"[{low:.4f}, {high:.4f}]"


def test_p2_on_drawn_scenes_is_true_of_them(tmp_path: Path) -> None:
    manifest, run = finish(["source.images=1000", "runtime.executor=local"], tmp_path / "loop")
    rows = kept_rows(run)
    report("toyworld, tiny model", manifest, rows)
    truths = [holds(scene(0, int(row["image_id"][4:])), row["question"]) for row in rows]
    share, interval = precision(truths)
    loose, loose_run = finish(["source.images=1000", "runtime.executor=local", "min_no=1"], tmp_path / "majority")
    loose_rows = kept_rows(loose_run)
    majority = precision([holds(scene(0, int(row["image_id"][4:])), row["question"]) for row in loose_rows])
    kept_words = sum(words_in_order(row["caption"].rstrip("."), row["negated_caption"]) for row in rows)
    by_kind = {
        kind: precision([t for t, row in zip(truths, rows, strict=True) if row["negation_kind"] == kind])[0]
        for kind in ("object", "attribute", "action")
    }
    verdict(
        "p2: captions of drawn scenes are true", share >= 0.99 and kept_words == len(rows) and len(rows) > 1000,
        questions=manifest.rows_read, kept=len(rows), precision=share, interval=interval, untold=truths.count(None),
        quarantined=manifest.rows_quarantined, **by_kind, kept_by_majority=loose.rows_kept,
        precision_by_majority=majority[0], interval_by_majority=majority[1],
    )  # fmt: skip


@pytest.mark.ray
def test_p2_gives_one_digest_from_the_loop_and_from_ray(tmp_path: Path) -> None:
    size = ["source.images=300", "source.shard_rows=128", "merger.chat.misbehaviour.malformed=0.1"]
    loop, _ = finish([*size, "runtime.executor=local"], tmp_path / "loop")
    ray, _ = finish([*size, *on_ray(2)], tmp_path / "ray")
    verdict(
        "p2: one digest from the loop and from Ray", loop.content_digest == ray.content_digest and loop.shards > 4,
        rows=loop.rows_read, shards=loop.shards, loop=loop.content_digest, ray=ray.content_digest,
    )  # fmt: skip


def simulated_vqa(coco: Path, out: Path, per_image: int = 12) -> dict[str, bool]:
    """Write VQA's files for val2017; returns question id -> whether the category is annotated in the image."""
    instances = json.loads((coco / "annotations/instances_val2017.json").read_text())
    captions = json.loads((coco / "annotations/captions_val2017.json").read_text())
    names = {category["id"]: category["name"] for category in instances["categories"]}
    present: dict[int, set[str]] = {image["id"]: set() for image in instances["images"]}
    for note in instances["annotations"]:
        present[note["image_id"]].add(names[note["category_id"]])
    questions: list[Row] = []
    notes: list[Row] = []
    truth: dict[str, bool] = {}
    for image_id in sorted({note["image_id"] for note in captions["annotations"]} & {i for i in present if present[i]}):
        rng = rng_for(0, "simulated_vqa", image_id)
        there, absent = sorted(present[image_id]), sorted(set(COCO_80) - present[image_id])
        names_asked = [*(rng.permutation(there)[: per_image // 3]), *(rng.permutation(absent)[: per_image * 2 // 3])]
        for k, name in enumerate(map(str, names_asked)):
            question_id = image_id * 1000 + k
            truth[str(question_id)] = name in present[image_id]
            votes = simulated_votes(name in present[image_id], rng)
            questions.append({"question_id": question_id, "image_id": image_id, "question": asked(name, rng)})
            notes.append({
                "question_id": question_id, "image_id": image_id, "question_type": "is there a", "answer_type": "yes/no",
                "multiple_choice_answer": max(("yes", "no"), key=votes.count),
                "answers": [{"answer": v, "answer_confidence": "yes", "answer_id": n} for n, v in enumerate(votes, 1)],
            })  # fmt: skip
    (out / "questions.json").write_text(json.dumps({"questions": questions}))
    (out / "answers.json").write_text(json.dumps({"annotations": notes}))
    return truth


def asked(name: str, rng: np.random.Generator) -> str:
    if is_plural(name) or is_uncountable(name):
        return f"Is there any {name} in the picture?" if is_uncountable(name) else f"Are there any {name} here?"
    if rng.random() < 0.5:
        return f"Are there any {plural(name)} in this picture?"
    return f"Is there {indefinite(name)} in the image?"


def simulated_votes(truth: bool, rng: np.random.Generator) -> list[str]:
    error_rate = ERROR_RATES[int(rng.random() * len(ERROR_RATES))]
    return ["yes" if truth != (draw < error_rate) else "no" for draw in rng.random(10).tolist()]


@pytest.mark.real_data
def test_p2_on_photographs_with_simulated_questions(tmp_path: Path, shared_data: Path) -> None:
    coco = shared_data / "coco"
    truth = simulated_vqa(coco, tmp_path)
    source = {
        "kind": "vqa", "root": str(coco), "split": "val2017", "questions": str(tmp_path / "questions.json"),
        "annotations": str(tmp_path / "answers.json"),
    }  # fmt: skip
    arguments = ["-c", "backends/p2_photos_cpu", f"source={json.dumps(source)}", "runtime.executor=local"]
    manifest, run = finish(arguments, tmp_path / "photos")
    rows = kept_rows(run)
    report("COCO val2017, grammar, questions simulated from instance annotations", manifest, rows)
    share, interval = precision([truth[row["question_id"]] for row in rows])
    noes = manifest.rows_read - sum(n for name, n in manifest.rejected.items() if name.startswith("select_no_answer"))
    verdict(
        "p2: simulated questions about photographs", share >= 0.995 and len(rows) / noes >= 0.85,
        questions=manifest.rows_read, clear_noes=noes, kept=len(rows), kept_share=len(rows) / noes, precision=share,
        interval=interval, quarantined=manifest.rows_quarantined,
    )  # fmt: skip
