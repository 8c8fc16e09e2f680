"""NeIn's scores: editors whose scores theory knows, six images by hand, FID and LPIPS beside torchmetrics."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from negscale import app, verbs
from negscale.benchmarks.evaluation import ITEMS, METRICS, run_rows, score
from negscale.benchmarks.nein import items, metrics
from negscale.benchmarks.registry import find_benchmark
from negscale.core.errors import ConfigError
from negscale.datasets.images import ImageReader
from negscale.eval_verbs import run_benchmark
from negscale.exports.formats import ExportOptions
from negscale.metrics.statistics import wilson_interval
from negscale.pipelines.nein_eval import NeinReportConfig
from negscale.stages.edit_queries import KINDS
from negscale.storage.audit import audit
from negscale.storage.run_folder import RunFolder
from tests.acceptance.verdict import verdict

LOCAL = ["runtime.executor=local"]
Scores = dict[str, dict[str, Any]]
CHANGES_NOTHING = [f"{kind}/{what}" for kind in ("affirmative", "keep") for what in (
    "object_stays/vqa", "object_stays/detector", "retention/vqa", "retention/detector", "respected/vqa",
    "respected/detector", "unchanged",
)]  # fmt: skip
REMOVES = [f"{name}/{judge}" for name in ("removal", "removal_of_seen") for judge in ("vqa", "detector")]
KEEPS = ["retention/vqa", "retention/detector"]
OBEYS = ["obedience/vqa", "obedience/detector"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished nein run on drawn scenes: the folder of all runs."""
    root = tmp_path_factory.mktemp("runs")
    prepared = app.prepare("nein", (), [
        "source.images=30", "source.shard_rows=10", "selection.edits=2", f"runtime.run_root={root}", *LOCAL,
    ])  # fmt: skip
    manifest = app.generate(prepared)
    assert manifest.rows_kept >= 50
    return root


Evaluate = Callable[..., tuple[Scores, Path]]


@pytest.fixture(scope="module")
def evaluate(world: Path) -> Evaluate:
    done: dict[tuple[str, ...], tuple[Scores, Path]] = {}

    def run(version: str, *overrides: str) -> tuple[Scores, Path]:
        if (version, *overrides) not in done:
            prepared = app.prepare("nein_eval", (), [
                f"source.uri={world}/nein/dev", f"runtime.run_root={world}", f"runtime.version={version}", *LOCAL,
                *overrides,
            ])  # fmt: skip
            result = run_benchmark(find_benchmark("nein"), prepared)
            scores = {one["name"]: one for one in result.facts["scores"]}
            done[version, *overrides] = scores, Path(prepared.spec.uri)
        return done[version, *overrides]

    return run


def value(scores: Scores, name: str) -> float:
    return scores[name]["estimate"]["value"]


def off(scores: Scores, wanted: dict[str, float], tolerance: float = 1e-9) -> dict[str, float]:
    """Scores that are not what they should be."""
    return {
        name: value(scores, name) for name, should in wanted.items() if abs(value(scores, name) - should) > tolerance
    }


def pictures(folder: Path, world: Path, kind: str = "negative") -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(truth, input, edit) of each kept query of a kind."""
    rows = [r for r in run_rows(RunFolder(str(folder))).to_pylist() if r["edit_query"]["kind"] == kind]
    truths, inputs, edits = ImageReader(), ImageReader(f"{world}/nein/dev"), ImageReader(str(folder))
    return [(truths.read(r["image"]), inputs.read(r["image_with_object"]), edits.read(r["edited_image"])) for r in rows]


def test_an_editor_that_does_nothing(evaluate: Evaluate, world: Path) -> None:
    scores, folder = evaluate("unchanged", "editor.rule=unchanged")
    wanted = dict.fromkeys([*REMOVES, *OBEYS, "two_objects/removal/vqa"], 0.0) | dict.fromkeys(
        [*KEEPS, *CHANGES_NOTHING], 1.0
    )
    differences = [np.abs(a.astype(float) - b) / 255 for a, b, _ in pictures(folder, world)]
    wanted |= {"l1": float(np.mean([d.mean() for d in differences])), "keep/change_l1": 0.0}
    wanted |= {"l2": float(np.mean([(d**2).mean() for d in differences]))}
    scores_seen = [
        row["detector_score"] for row in pq.read_table(folder / ITEMS).to_pylist() if row["kind"] == "negative"
    ]
    wanted["auc_removal"] = 100 * (1 - float(np.mean(scores_seen)))
    wrong = off(scores, wanted)
    verdict(
        "an editor that does nothing removes nothing and keeps all", not wrong, columns=len(wanted), wrong=wrong,
        auc=value(scores, "auc_removal"), l1=value(scores, "l1"), frechet=value(scores, "frechet/pixel_features"),
    )  # fmt: skip


def test_a_perfect_editor(evaluate: Evaluate) -> None:
    scores, _ = evaluate("perfect", "editor.rule=perfect")
    wanted = dict.fromkeys([*REMOVES, *OBEYS, *KEEPS, *CHANGES_NOTHING, "two_objects/removal/vqa"], 1.0)
    wanted |= dict.fromkeys(["l1", "l2", "l1_edited_size", "keep/change_l1", "frechet/pixel_features"], 0.0)
    wanted |= {"auc_removal": 100.0, "removal/judges_agree": 1.0}
    missing = {n: s["estimate"]["missing"] for n, s in scores.items() if s["estimate"]["missing"]}
    wrong = off(scores, wanted)
    verdict("a perfect editor gets every score", not wrong, columns=len(wanted), wrong=wrong, missing=missing)


def test_always_removing_wins_the_papers_table_and_is_exposed_by_the_controls(evaluate: Evaluate) -> None:
    perfect, _ = evaluate("perfect", "editor.rule=perfect")
    always, _ = evaluate("always", "editor.rule=always_remove")
    table = [*REMOVES, *KEEPS, "auc_removal", "l1", "l2", "frechet/pixel_features"]
    same = off(always, {name: value(perfect, name) for name in table})
    controls = [
        f"{k}/{w}/{j}"
        for k in ("affirmative", "keep")
        for w in ("object_stays", "respected")
        for j in ("vqa", "detector")
    ]
    exposed = off(always, dict.fromkeys([*controls, *OBEYS], 0.0))
    unchanged = value(always, "keep/unchanged")
    named, _ = evaluate("named", "editor.kind=tiny_editor", "editor.habit=removes_named")
    obeys, _ = evaluate("obeys", "editor.kind=tiny_editor")
    by_words = {
        n: round(value(named, n), 3)
        for n in (
            "removal/detector",
            "affirmative/object_stays/detector",
            "two_objects/retention/detector",
            "obedience/detector",
        )
    }
    by_rule = {n: round(value(obeys, n), 3) for n in by_words}
    passed = (
        not same and not exposed and unchanged == 0
        and by_words["removal/detector"] >= 0.9 and by_rule["removal/detector"] >= 0.9
        and by_words["affirmative/object_stays/detector"] <= 0.1 and by_rule["affirmative/object_stays/detector"] == 1
        and by_words["two_objects/retention/detector"] < by_rule["two_objects/retention/detector"]
        and by_words["obedience/detector"] <= 0.1 < 0.9 <= by_rule["obedience/detector"]
    )  # fmt: skip
    verdict(
        "an editor that always removes has a perfect editor's table and fails the controls", passed, unequal=same,
        not_exposed=exposed, keep_unchanged=unchanged, removes_the_named_noun=by_words, obeys_the_sentence=by_rule,
    )  # fmt: skip


def test_an_editor_that_gives_noise(evaluate: Evaluate, world: Path) -> None:
    scores, folder = evaluate("noise", "editor.rule=noise")
    found = pictures(folder, world)
    levels = np.arange(256) / 255
    l1_of = np.abs(levels[:, None] - levels).mean(1)  # of each grey value to a uniform draw
    l2_of = ((levels[:, None] - levels) ** 2).mean(1)
    theory = {
        "l1": float(np.mean([l1_of[t].mean() for t, _, _ in found])),
        "l2": float(np.mean([l2_of[t].mean() for t, _, _ in found])),
    }
    wrong = off(scores, dict.fromkeys(REMOVES, 1.0) | dict.fromkeys([*KEEPS, *CHANGES_NOTHING, *OBEYS], 0.0), 0.02)
    wrong |= off(scores, theory, 0.002)
    worst = value(scores, "frechet/pixel_features") > 20 * value(
        evaluate("unchanged", "editor.rule=unchanged")[0], "frechet/pixel_features"
    )
    verdict(
        "noise removes everything, keeps nothing and lies at its theoretical distance", not wrong and worst, wrong=wrong,
        l1=value(scores, "l1"), l1_theory=theory["l1"], l2=value(scores, "l2"), l2_theory=theory["l2"],
    )  # fmt: skip


def test_what_is_missing_is_counted_and_the_released_column_is_the_release(evaluate: Evaluate) -> None:
    scores, folder = evaluate(
        "broken", "editor.kind=tiny_editor", "editor.misbehaviour.malformed=0.2", "runtime.quarantine_budget=1"
    )
    run = RunFolder(str(folder))
    manifest = run.manifest()
    assert manifest is not None
    quarantined = run_rows(run).to_pylist()
    lost = sum(row["quarantine"] is not None and row["edit_query"]["kind"] == "negative" for row in quarantined)
    rows = [row for row in pq.read_table(folder / ITEMS).to_pylist() if row["kind"] == "negative"]
    removal = scores["removal/vqa"]
    gone = [row["vqa_seen"] is False for row in rows if row["vqa_seen"] is not None]
    to_the_letter = sum(row["vqa_answer"] == "No" for row in rows) / len(rows)
    low, high = removal["estimate"]["low"], removal["estimate"]["high"]
    passed = (
        lost > 0 and removal["estimate"]["missing"] == lost == scores["l1"]["estimate"]["missing"]
        and removal["estimate"]["count"] == len(rows) - lost and removal["estimate"]["value"] == sum(gone) / len(gone)
        and abs(removal["as_released"]["value"] - to_the_letter) < 1e-12 and to_the_letter < 0.6 < removal["estimate"]["value"]
        and low <= removal["estimate"]["value"] <= high
        and json.loads((folder / METRICS).read_text())["quarantined"] == manifest.quarantined
        and audit(run).passed
    )  # fmt: skip
    verdict(
        "broken edits are missing in every score, and the released count is to the letter", passed, lost=lost,
        count=removal["estimate"]["count"], removal=removal["estimate"]["value"], as_released=to_the_letter,
        interval=(low, high), quarantined=manifest.quarantined, l1_missing=scores["l1"]["estimate"]["missing"],
        audit=audit(run).problems,
    )  # fmt: skip


def test_the_released_files_give_the_figures_of_the_run(evaluate: Evaluate, world: Path, tmp_path: Path) -> None:
    scores, _ = evaluate("denials", "editor.kind=tiny_editor", "kinds=[negative,affirmative]")
    run = RunFolder(f"{world}/nein/dev")
    verbs.export(run, "nein-json", str(tmp_path / "nein"), ExportOptions(form="quintuplets"))
    parts = [json.loads(path.read_text()) for path in sorted((tmp_path / "nein").glob("*.json"))]
    (tmp_path / "nein/all.json").write_text(json.dumps([entry for part in parts for entry in part]))
    source = f"source={{kind: nein_json, root: {tmp_path}/nein, annotations: all.json}}"
    prepared = app.prepare("nein_eval", (), [
        source, f"runtime.run_root={world}", "runtime.version=files", "editor.kind=tiny_editor", *LOCAL,
    ])  # fmt: skip
    found = {one["name"]: one for one in run_benchmark(find_benchmark("nein"), prepared).facts["scores"]}
    wanted = {name: value(scores, name) for name in scores}
    wrong = {n: (value(found, n), v) for n, v in wanted.items() if not np.isclose(value(found, n), v, equal_nan=True)}
    counts = {n for n in wanted if found[n]["estimate"]["count"] != scores[n]["estimate"]["count"]}
    verdict(
        "eval nein over the released JSON and its images gives the figures of the run that was exported",
        found.keys() == scores.keys() and not wrong and not counts, columns=len(wanted), rows=sum(map(len, parts)),
        wrong=wrong, counts=counts,
    )  # fmt: skip


def test_a_finished_evaluation_is_only_reduced(evaluate: Evaluate, world: Path) -> None:
    scores, folder = evaluate("perfect", "editor.rule=perfect")
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*.parquet") if p.name != ITEMS}
    prepared = app.prepare("nein_eval", (), [
        f"source.uri={world}/nein/dev", f"runtime.run_root={world}", "runtime.version=perfect", "editor.rule=perfect",
        "report.draws=200", *LOCAL,
    ])  # fmt: skip
    again = {one["name"]: one for one in run_benchmark(find_benchmark("nein"), prepared).facts["scores"]}
    untouched = before == {p: p.stat().st_mtime_ns for p in before}
    same = {name: one["estimate"]["value"] for name, one in again.items()} == {n: value(scores, n) for n in scores}
    verdict("a finished evaluation is reduced again without a model call", untouched and same, parts=len(before))
    with pytest.raises(ConfigError, match="there is nein"):
        find_benchmark("magicbrush")


def test_a_killed_evaluation_goes_on_and_gives_the_same_figures(evaluate: Evaluate, world: Path) -> None:
    scores, folder = evaluate("obeys", "editor.kind=tiny_editor")
    command = [
        sys.executable, "-m", "negscale", "eval", "nein", f"source.uri={world}/nein/dev", f"runtime.run_root={world}",
        "runtime.version=killed", "editor.kind=tiny_editor", "--json", *LOCAL,
    ]  # fmt: skip
    killed = subprocess.run([*command, "editor.misbehaviour.exits_after=5"], capture_output=True, text=True)
    done_before = len(RunFolder(f"{world}/nein_eval/killed").committed())
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    facts = json.loads(again.stdout)
    figures = json.loads((folder / METRICS).read_text())
    passed = (
        killed.returncode == 1 and 0 < done_before < 3 and facts["scores"] == figures["scores"]
        and facts["content_digest"] == figures["content_digest"]
    )  # fmt: skip
    verdict(
        "a killed evaluation goes on and gives the same figures", passed, shards_done_before=done_before,
        scores=len(scores), digest=facts["content_digest"][:12],
    )  # fmt: skip


# -- six images by hand ---------------------------------------------------------------------------------------------------


def seen(**answers: tuple[bool | None, float, str]) -> list[dict[str, Any]]:
    return [{"object": name, "seen": s, "score": c, "answer": a} for name, (s, c, a) in answers.items()]


def yes(score: float = 1.0) -> tuple[bool, float, str]:
    return True, score, "Yes"


def no(answer: str = "No", score: float = 0.0) -> tuple[bool, float, str]:
    return False, score, answer


def test_six_images_by_hand() -> None:
    unknown = (None, 0.5, "perhaps")
    cases: list[tuple[str, list[str], Any, Any, float, bool, float | None]] = [
        # object, caption objects, VQA before, VQA after, detector's best, above its threshold, L1
        ("cat", ["dog", "tree"], seen(cat=yes(), dog=yes(), tree=yes()), seen(cat=no(), dog=yes(), tree=no()), 0.0, False, 0.1),
        ("cat", ["dog"], seen(cat=yes(), dog=yes()), seen(cat=no("no"), dog=yes()), 0.4, True, 0.2),
        ("cat", ["dog", "car"], seen(cat=yes(), dog=yes(), car=no()), seen(cat=yes(), dog=yes(), car=yes()), 0.9, True, 0.3),
        ("hat", [], seen(hat=yes()), seen(hat=no()), 0.05, False, 0.4),
        ("hat", ["dog"], seen(hat=yes(), dog=no()), seen(hat=unknown, dog=yes()), 0.0, False, 0.5),
        ("hat", ["dog", "tree", "ball"], seen(hat=no(), dog=yes(), tree=yes(), ball=yes()),
         seen(hat=no(), dog=yes(), tree=no(), ball=no()), 0.2, True, None),
    ]  # fmt: skip
    rows: list[dict[str, Any]] = []
    for n, (name, objects, before, after, best, there, l1) in enumerate(cases):
        detector = seen(**{name: (there, best, "box")})
        base = {"image_id": f"i{n}", "absent_object": name, "caption_objects": objects, "vqa_input": before,
                "detector_input": seen(**{name: yes()}), "detector_edit": detector}  # fmt: skip
        query = {"kind": "negative", "instruction": f"There is no {name}.", "named_object": name}
        rows.append({**base, "id": f"r{n}#0", "edit_query": query, "vqa_edit": after, "l1": l1, "change_peak": None})
        query = {"kind": "affirmative", "instruction": f"There is a {name}.", "named_object": name}
        kept = before if n < 2 else after  # two editors' habits: leave it alone, or do as with the denial
        rows.append({**base, "id": f"r{n}#1", "edit_query": query, "vqa_edit": kept, "change_peak": 0.02 * n})
    table = items(pa.Table.from_pylist(rows))
    report = NeinReportConfig(unchanged_peak=0.05, released_retention_rows=5)
    config = SimpleNamespace(
        report=report, vqa=1, detector=1, clip=None, dino=None, fid=None, lpips=None, kinds=("negative", "affirmative")
    )
    found = {one.name: one for one in score(table, metrics(config), "object")}
    expected = {  # name: (value, count, missing), all by hand
        "removal/vqa": (4 / 5, 5, 1),  # r4 was not understood
        "removal_of_seen/vqa": (3 / 4, 4, 2),  # r4, and r5 whose input shows no hat
        "removal/detector": (3 / 6, 6, 0), "auc_removal": (100 * (1 - 1.55 / 6), 6, 0),
        "retention/vqa": ((1 / 2 + 1 + 1 + 1 / 3) / 4, 4, 2),  # r3 names nothing, r4's dog was not in the input
        "l1": (0.3, 5, 1),
        "affirmative/object_stays/vqa": (3 / 4, 4, 2),  # r0, r1 and r2 stay, r3 goes; r4 unclear, r5 never seen
        "affirmative/respected/vqa": (3 / 4, 4, 2), "affirmative/unchanged": (3 / 6, 6, 0),
        "obedience/vqa": (2 / 4, 4, 2),  # r0 and r1; r2 and r3 fail one of two; r4 and r5 are unknown
    }  # fmt: skip
    released = {
        "removal/vqa": 3 / 6,
        "removal/detector": 3 / 6,
        "auc_removal": 75.0,
        "retention/vqa": (1 / 2 + 2 + 1 / 3) / 5,
    }
    wrong: dict[str, Any] = {}
    for name, (should, count, missing) in expected.items():
        estimate = found[name].estimate
        if abs(estimate.value - should) > 1e-9 or (estimate.count, estimate.missing) != (count, missing):
            wrong[name] = estimate
    for name, should in released.items():
        as_released = found[name].as_released
        if as_released is None or abs(as_released.value - should) > 1e-9:
            wrong[f"{name} as released"] = as_released
    groups = {name: (e.value, e.count, e.missing) for name, e in found["removal/vqa"].groups.items()}
    bounds = found["removal/vqa"].estimate.low, found["removal/vqa"].estimate.high
    passed = (
        not wrong and groups == {"cat": (2 / 3, 3, 0), "hat": (1.0, 2, 1)}
        and bounds == pytest.approx(wilson_interval(4, 5))
    )  # fmt: skip
    verdict("six images by hand", passed, scores=len(expected), released=len(released), wrong=wrong, groups=groups)


def test_a_row_that_broke_before_it_was_split_is_missing_once_an_instruction() -> None:
    row = {
        "id": "r0", "image_id": "i0", "absent_object": "cat", "negative_instruction": "There is no cat.",
        "affirmative_instruction": "There is a cat.", "keep_instruction": None, "kept_absent_object": None,
        "two_objects_instruction": None,
    }  # fmt: skip
    schema = pa.schema([
        *[(name, pa.string()) for name in row],
        ("edit_query", pa.struct([("kind", pa.string()), ("instruction", pa.string())])),
    ])  # fmt: skip
    found = items(pa.Table.from_pylist([{**row, "edit_query": None}], schema)).to_pylist()
    passed = [(i["id"], i["row_id"], i["kind"], i["vqa_seen"]) for i in found] == [
        ("r0#0", "r0", "negative", None), ("r0#1", "r0", "affirmative", None),
    ]  # fmt: skip
    verdict("a row that broke early is missing in each of its instructions", passed, items=len(found), kinds=len(KINDS))


# -- libraries ------------------------------------------------------------------------------------------------------------


def test_fid_and_lpips_are_those_of_torchmetrics(
    evaluate: Evaluate, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch: Any = pytest.importorskip("torch")
    lpips: Any = pytest.importorskip("torchmetrics.functional.image.lpips")
    import torchvision
    from torchmetrics.image.fid import FrechetInceptionDistance

    torch.manual_seed(7)
    backbone = torchvision.models.alexnet()  # random weights: nothing is fetched
    torch.save(backbone.state_dict(), tmp_path / "alexnet.pth")
    scores, folder = evaluate(
        "libraries", "editor.rule=noise", "kinds=[negative]", f"lpips={{kind: lpips, path: {tmp_path}/alexnet.pth}}"
    )
    rows = run_rows(RunFolder(str(folder))).to_pylist()
    network: Any = torch.nn.Identity()
    network.num_features = len(rows[0]["edited_features"])
    theirs = FrechetInceptionDistance(feature=network).set_dtype(torch.float64)
    theirs.update(torch.tensor([row["wanted_features"] for row in rows], dtype=torch.float64), real=True)
    theirs.update(torch.tensor([row["edited_features"] for row in rows], dtype=torch.float64), real=False)
    fid = abs(float(theirs.compute()) - value(scores, "frechet/pixel_features"))
    monkeypatch.setattr(lpips, "_get_tv_model_features", lambda net, pretrained=False: backbone.features)
    pairs = [
        [torch.from_numpy(x.transpose(2, 0, 1).copy()).float() / 255 for x in (edit, truth)]
        for truth, _, edit in pictures(folder, world)
    ]
    edits, truths = (torch.stack([pair[side] for pair in pairs]) for side in (0, 1))
    mean = lpips.learned_perceptual_image_patch_similarity(edits, truths, net_type="alex", normalize=True)
    distance = abs(float(mean) - value(scores, "lpips"))
    verdict(
        "FID and LPIPS equal torchmetrics on the same features", fid < 1e-4 and distance < 1e-4, rows=len(rows),
        fid=value(scores, "frechet/pixel_features"), fid_off=fid, lpips=value(scores, "lpips"), lpips_off=distance,
    )  # fmt: skip


def test_clip_i_is_the_cosine_that_transformers_gives(evaluate: Evaluate, world: Path) -> None:
    pytest.importorskip("transformers")
    from negscale.tiny_models.encoder import embed
    from negscale.tiny_models.files import folder_of

    encoder = f"{{kind: hf_dual_encoder, model: negscale/tiny-encoder, path: {folder_of('encoder')}}}"
    scores, folder = evaluate(
        "features", "editor.kind=tiny_editor", "editor.habit=does_nothing", "kinds=[negative]", f"clip={encoder}"
    )
    triples = pictures(folder, world)
    vectors, _ = embed(
        folder_of("encoder"), [image for truth, _, edit in triples for image in (edit, truth)], ["a cat"]
    )
    cosines = (
        (vectors[::2] * vectors[1::2]).sum(1)
        / np.linalg.norm(vectors[::2], axis=1)
        / np.linalg.norm(vectors[1::2], axis=1)
    )
    distance = abs(float(cosines.mean()) - value(scores, "clip_i"))
    passed = (
        distance < 1e-4 and scores["clip_i"]["estimate"]["count"] == len(triples) and value(scores, "clip_i") < 0.999
    )
    verdict(
        "CLIP-I is what transformers gives", passed, rows=len(triples), clip_i=value(scores, "clip_i"), off=distance
    )
