"""NegRefCOCOg: true of the target and false of the others on drawn scenes; the released phrases and patches as a check."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from negscale import app
from negscale.core.boxes import iou
from negscale.core.run import Manifest
from negscale.datasets.toy_pairs import Expression, Item, PairScene, expressions, holds, pair_scene
from negscale.exports.negrefcocog_json import export_negrefcocog, overlap_with
from negscale.language.denials import find_denial
from negscale.storage.audit import audit
from negscale.storage.run_folder import RunFolder
from tests.acceptance.storm import Driver, cli
from tests.acceptance.verdict import verdict

SMALL = ["source.images=1500", "source.shard_rows=250"]
EACH, WRONG = 2, 0.1  # the source's defaults
MIN_SELECTED = 0.95
MEANT_LEFT_PX = {358083: 40.41, 443: 2.37}  # COCO image -> left edge of the box that the released item refers to
Row = Mapping[str, Any]


def run_of(root: Path, *overrides: str) -> tuple[RunFolder, Manifest]:
    prepared = app.prepare(
        "negrefcocog", (), ["runtime.executor=local", f"runtime.run_root={root}", *overrides]
    )  # fmt: skip
    manifest = app.generate(prepared)
    return RunFolder(prepared.spec.uri), manifest


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, Manifest]:
    return run_of(tmp_path_factory.mktemp("runs"), *SMALL)


def rows_of(run: RunFolder, kind: str = "data") -> list[dict[str, Any]]:
    return [row for _, table in run.tables(kind) for row in table.to_pylist()]


def ground_truth(row: Row) -> tuple[PairScene, Expression, dict[str, Item]]:
    """What was drawn and said, from the row's id alone."""
    _, index, k = row["id"].split("-")
    what = pair_scene(0, int(index))
    said = expressions(what, 0, int(index), EACH, WRONG)[int(k)]
    assert said.text == row["expression"]
    return what, said, {item.id: item for item in what.items}


@pytest.mark.acceptance
def test_kept_expressions_are_true_of_the_target_and_false_of_the_others(drawn: tuple[RunFolder, Manifest]) -> None:
    run, manifest = drawn
    rows, refused = rows_of(run), rows_of(run, "rejected")
    of_target = of_negatives = consistent = 0
    for row in rows:
        what, said, items = ground_truth(row)
        candidates = [items[i] for i in row["candidate_ids"]]
        target = candidates[row["target"]]
        of_target += target is said.target and holds(what, target, said.claim)
        of_negatives += any(holds(what, item, said.claim) for item in candidates if item is not target)
        consistent += all(
            iou(tuple(patch), item.box_xywh_px) > 0
            for patch, item in zip(row["boxes_xywh_px"], candidates, strict=True)
        )
    contradicted = [row for row in refused if row["rejection"]["reason"] == "contradicts_annotations"]
    rightly = 0
    for row in contradicted:
        what, said, items = ground_truth(row)
        rightly += not holds(what, items[row["referred_id"]], said.claim)
    print(f"\n{manifest.rows_read} expressions: {manifest.rows_kept} kept; refused:")
    for reason, count in sorted(manifest.rejected.items(), key=lambda item: -item[1]):
        print(f"  {count:5d}  {reason}")
    print("20 kept, as they came:")
    for row in rows[:: max(1, len(rows) // 20)][:20]:
        boxes = " | ".join("{:.0f} {:.0f} {:.0f} {:.0f}".format(*box) for box in row["boxes_xywh_px"])
        print(
            f"  [{row['negation_cue']}, {row['negation_position']}] {row['expression']}  target {row['target']} of {boxes}"
        )
    places = Counter(row["target"] for row in rows)
    first = places[0] / len(rows)
    flagged = sum(row["all_negatives_fail"] is True for row in rows)
    verdict(
        "kept referring expressions are true of the target and false of the others",
        len(rows) > 500 and of_target == consistent == len(rows) and of_negatives == 0
        and len(contradicted) > 50 and rightly == len(contradicted) and 0.45 < first < 0.55 and audit(run).passed,
        kept=len(rows), true_of_target=of_target / len(rows), true_of_a_negative=of_negatives,
        wrong_without_the_check=len(contradicted) / (len(rows) + len(contradicted)), contradictions=len(contradicted),
        contradictions_that_are_wrong=rightly, target_first=first, negatives_known_to_fail=flagged / len(rows),
    )  # fmt: skip


@pytest.mark.acceptance
def test_every_wrong_expression_among_the_selected_is_refused(drawn: tuple[RunFolder, Manifest]) -> None:
    run, _ = drawn
    places: Counter[str] = Counter()
    for kind in ("data", "rejected"):
        for row in rows_of(run, kind):
            what, said, _ = ground_truth(row)
            if said.claim.negated and not holds(what, said.target, said.claim):
                places["kept" if kind == "data" else row["rejection"]["reason"]] += 1
    verdict(
        "no wrong expression is kept", places["kept"] == 0 and places["contradicts_annotations"] > 50, **places
    )  # fmt: skip


@pytest.mark.acceptance
@pytest.mark.ray
@pytest.mark.timeout(900)
def test_ray_gives_the_same_digest(drawn: tuple[RunFolder, Manifest], tmp_path: Path) -> None:
    _, manifest = drawn
    command = cli(
        "generate", "negrefcocog", *SMALL, "runtime.executor=ray", "runtime.ray_cpus=4", f"runtime.run_root={tmp_path}"
    )
    driver = Driver(command, tmp_path / "log")
    assert driver.wait(800) == 0, driver.tail()
    run = RunFolder(str(tmp_path / "negationclip/negrefcocog/dev"))
    other = run.manifest()
    assert other is not None
    verdict(
        "negrefcocog: one digest from the loop and from Ray",
        other.content_digest == manifest.content_digest and audit(run).passed and other.rows_kept == manifest.rows_kept,
        rows=other.rows_read, loop=manifest.content_digest, ray=other.content_digest, seconds=other.seconds,
    )  # fmt: skip


def released(shared: Path) -> list[dict[str, Any]]:
    return json.loads((shared / "text/NegRefCOCOg.json").read_text())


@pytest.mark.acceptance
@pytest.mark.real_data
def test_the_selector_takes_the_released_phrases(shared_data: Path) -> None:
    phrases = [item["phrase"] for item in released(shared_data)]
    refused = [(why, phrase) for phrase in phrases if isinstance(why := find_denial(phrase), str)]
    print("\nreleased phrases that the selector refuses:")
    for why, phrase in refused:
        print(f"  {why}: {phrase}")
    share = 1 - len(refused) / len(phrases)
    verdict(
        "the selector takes the released phrases", share >= MIN_SELECTED, phrases=len(phrases), share=share,
        **Counter(why for why, _ in refused),
    )  # fmt: skip


@pytest.mark.acceptance
@pytest.mark.real_data
def test_the_released_patches_come_out_of_cocos_boxes(shared_data: Path, tmp_path: Path) -> None:
    """Real phrases and boxes. Only which box is meant is not released: it is the one that the released patch grows from."""
    notes = json.loads((shared_data / "coco/annotations/instances_train2017.json").read_text())
    items = {number: item for item in released(shared_data) if (number := int(item["image"][-16:-4])) in MEANT_LEFT_PX}
    notes["annotations"] = [
        {**note, "id": number} for number, note in enumerate(notes["annotations"]) if note["image_id"] in items
    ]
    refs = []
    for number, item in items.items():
        (meant,) = [
            note for note in notes["annotations"]
            if note["image_id"] == number and note["bbox"][0] == MEANT_LEFT_PX[number]
        ]  # fmt: skip
        refs.append({
            "ref_id": number, "ann_id": meant["id"], "image_id": number, "split": "train",
            "sentences": [{"sent_id": number, "sent": item["phrase"]}],
        })  # fmt: skip
    (tmp_path / "instances.json").write_text(json.dumps(notes))
    (tmp_path / "refs.json").write_text(json.dumps(refs))
    run, _ = run_of(
        tmp_path / "runs", "source.kind=refcoco", f"source.root={tmp_path}", "source.refs=refs.json",
        "source.image_folder=train2017",
    )  # fmt: skip
    out = tmp_path / "NegRefCOCOg.json"
    export_negrefcocog(run, str(out))
    made = {item["phrase"]: item for item in json.loads(out.read_text())}
    differences = []
    for item in items.values():
        ours = made.get(item["phrase"])
        assert ours is not None, rows_of(run, "rejected")
        pairs = [
            *zip(ours["ref_bbox"], item["ref_bbox"], strict=True),
            *zip(ours["bbox_list"][1 - ours["target"]], item["bbox_list"][1], strict=True),
        ]  # fmt: skip
        differences += [abs(a - b) for a, b in pairs]
        print(f"\n  {item['phrase']}: released {item['bbox_list']}, made {ours['bbox_list']}")
    common = overlap_with(made.values(), released(shared_data))
    verdict(
        "the released patches come out of COCO's boxes", len(items) == 2 and max(differences) <= 0.02 and common.common == 2,
        items=len(items), largest_difference_px=max(differences), made=common.ours, released=common.released,
        in_common=common.common,
    )  # fmt: skip
