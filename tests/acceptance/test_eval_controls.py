"""Scorers without an opinion get chance, blind controls stand in the table of `eval all`, wrong image folders are refused."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from negscale.benchmarks.catalogue import RELEASED
from negscale.benchmarks.cells import Suite, read_suite
from negscale.benchmarks.controls import Controls
from negscale.benchmarks.encoding import Vectors, wanted
from negscale.benchmarks.found_images import Located
from negscale.benchmarks.released_run import Prepared, evaluate
from negscale.metrics.retrieval import chance
from tests.acceptance.storm import REPO, cli
from tests.acceptance.verdict import verdict
from tests.unit.backends.made_vision import make_dual
from tests.unit.benchmarks.files import same_vectors

pytestmark = [pytest.mark.acceptance, pytest.mark.real_data, pytest.mark.timeout(3000)]

FILES = {
    "negbench/mcq-coco": ("text/COCO_val_mcq_llama3.1_rephrased.csv", 0.25, 1.0),
    "negbench/mcq-voc2007": ("text/negbench_voc2007_mcq_llama3.1_rephrased.csv", 0.25, 1.0),
    "valse/existence": ("text/valse_existence.json", 0.5, 0.0),
    "valse/existence-validated": ("text/valse_existence.json", 0.5, 0.0),
    "negrefcocog": ("text/NegRefCOCOg.json", 0.5, 1.0),
    "negbench/retrieval-coco": ("bench/negbench_coco_retrieval.csv", None, None),
    "negbench/retrieval-neg-coco": ("bench/negbench_coco_negated_retrieval.csv", None, None),
}
# papers.md 0.1: type prior, second longest, caption-only regression (at least), joint rule (at least)
BLIND = {"negbench/mcq-coco": (0.514, 0.588, 0.80, 0.99), "negbench/mcq-voc2007": (0.358, 0.513, 0.70, 0.98)}
REGRESSION = "caption-only regression"
NO_CONTROLS = Controls({}, (), float("nan"), {})


@pytest.mark.parametrize("name", FILES)
def test_scorers_without_an_opinion_get_chance(shared_data: Path, name: str) -> None:
    """A constant vector for everything; and images that differ while every text has one vector."""
    file, by_chance, released = FILES[name]
    benchmark = RELEASED[name]
    reading = benchmark.items(str(shared_data / file))
    located = Located(reading.items, 1, 1)
    constant = same_vectors(reading.items)
    pictures, _ = wanted([reading.items])
    shown = np.random.default_rng(0).normal(size=(len(pictures), 8)).astype(np.float32)
    ties = Vectors(constant.picture_rows, constant.text_rows, shown, constant.text_vectors)
    scorers = (
        {"constant": constant, "all texts alike": ties} if benchmark.task == "choose_text" else {"constant": constant}
    )
    found = {}
    for scorer, vectors in scorers.items():
        figures = evaluate(Prepared(benchmark, reading, located), vectors, blind=NO_CONTROLS).figures
        one = next(score for score in figures if score.name in ("accuracy", "text_to_image/recall@5"))
        assert one.as_released is not None
        found[scorer] = (one.estimate.value, one.as_released.value)
    if by_chance is None:  # one right image of each caption
        by_chance = chance(np.ones(1, np.int64), len(reading.items), 5)
    verdict(
        f"{name}: a scorer without an opinion gets chance",
        all(abs(value - by_chance) < 1e-9 for value, _ in found.values())
        and (released is None or all(value == released for _, value in found.values())),
        chance=by_chance, **{scorer.replace(" ", "_"): value for scorer, (value, _) in found.items()},
        as_released=[value for _, value in found.values()],
    )  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small CLIP of random weights in transformers' layout, which any process can load."""
    folder = make_dual(tmp_path_factory.mktemp("model"))
    return f"models.made={{kind: hf_dual_encoder, model: made, path: {folder}, run: {{batch_size: 64}}}}"


def evaluated(data: Path, images: Path, root: Path, model: str) -> tuple[subprocess.CompletedProcess[str], Path]:
    done = subprocess.run(
        cli("eval", "all", f"data_root={data}", f"image_root={images}", model, f"runtime.run_root={root}",
            "runtime.executor=local"),
        cwd=REPO, capture_output=True, text=True,
    )  # fmt: skip
    return done, root / "eval/all"


def test_blind_controls_stand_in_the_table(shared_data: Path, tmp_path: Path, model: str) -> None:
    """All 10,945 questions of NegBench with pictures of the right names: what is drawn on them bears on no control."""
    data = tmp_path / "data"
    data.mkdir()
    names: set[str] = set()
    for name in BLIND:
        file = shared_data / FILES[name][0]
        (data / file.name).symlink_to(file)
        items = RELEASED[name].items(str(file)).items
        names |= {row[0].rpartition("/")[2] for row in items["images"].to_pylist()}
    images = tmp_path / "images"
    images.mkdir()
    for at, name in enumerate(sorted(names)):
        colours = np.random.default_rng(at).integers(0, 256, (2, 2, 3), np.uint8)
        Image.fromarray(colours).resize((32, 32), Image.Resampling.NEAREST).save(images / name)
    done, out = evaluated(data, images, tmp_path / "runs", model)
    assert done.returncode == 0, done.stderr[-3000:]
    suite = read_suite(str(out))
    for name, (prior, second, regression, joint) in BLIND.items():
        cell = suite.cells[name, "made"]
        controls = {what: estimate.value for what, estimate in cell.controls.items()}
        assert cell.gain is not None
        shown = " ".join(done.stderr.split())
        gain = cell.headline.estimate.value - controls[REGRESSION]
        verdict(
            f"{name}: the blind controls of the literature stand beside the model, and the gain is over the strongest",
            abs(controls["type prior"] - prior) <= 0.003 and abs(controls["second longest"] - second) <= 0.005
            and controls[REGRESSION] >= regression and controls["joint rule"] >= joint and cell.gain.over == REGRESSION
            and f"{REGRESSION} {100 * controls[REGRESSION]:.1f}" in shown and abs(cell.gain.value - gain) < 1e-9
            and cell.missing == 0,
            questions=cell.items, model=cell.headline.estimate.value, gain=cell.gain.value, **{
                what.replace(" ", "_"): value for what, value in controls.items()
            },
        )  # fmt: skip


def test_a_wrong_split_is_refused_and_said(shared_data: Path, tmp_path: Path, model: str) -> None:
    wrong, _ = evaluated(shared_data / "bench", shared_data / "coco/train2017", tmp_path / "wrong", model)
    right, out = evaluated(shared_data / "bench", shared_data / "coco/val2017", tmp_path / "right", model)
    assert right.returncode == 0, right.stderr[-3000:]
    suite: Suite = read_suite(str(out))
    named = subprocess.run(
        cli("eval", "negbench/mcq-coco", f"data_root={shared_data / 'bench'}", model,
            f"image_root={shared_data / 'coco/train2017'}", f"runtime.run_root={tmp_path / 'named'}"),
        cwd=REPO, capture_output=True, text=True,
    )  # fmt: skip
    verdict(
        "a data root with images of another split: refused, the split said, nothing scored near zero",
        named.returncode == 2 and "another split" in named.stderr and "COCO val2017" in named.stderr
        and "another split" in wrong.stderr and "negbench/mcq-coco" in suite.benchmarks
        and not (tmp_path / "named").exists(),
        exit_code=named.returncode, wrong_root=wrong.returncode, scored_with_the_right_root=len(suite.benchmarks),
        refused_with_the_right_root=list(suite.refused),
    )  # fmt: skip
