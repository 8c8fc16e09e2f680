"""A whole evaluation on real photographs with a small model of random weights; the published figures are in order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from negscale.backends.dual_encoders import OpenClipEncoderConfig
from negscale.benchmarks.catalogue import RELEASED
from negscale.benchmarks.encoding import read_vectors, things_of, wanted
from negscale.benchmarks.figures import metrics_of
from negscale.benchmarks.reference import parse_references, references
from negscale.benchmarks.released_run import evaluate, prepare
from negscale.benchmarks.suite_config import SuiteConfig
from negscale.core.errors import ConfigError
from negscale.core.runtime import RuntimeConfig
from negscale.datasets.images import ImageReader
from negscale.suite import embed, store_of
from tests.unit.backends.made_vision import make_open_clip


@pytest.mark.real_data
def test_every_benchmark_with_photographs_is_scored(shared_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("open_clip")
    pytest.importorskip("sklearn")
    name, path = make_open_clip(tmp_path)
    encoder = OpenClipEncoderConfig(model=name, path=str(path))
    runtime = RuntimeConfig(executor="local", run_root=str(tmp_path))
    images = str(shared_data / "coco")
    survey = prepare(str(shared_data / "bench"), images)
    assert not survey.refused
    assert {one.benchmark.name for one in survey.prepared} == {
        "negbench/mcq-coco", "negbench/retrieval-coco", "negbench/retrieval-neg-coco",
        "negbench/retrieval-neg-coco-templated", "negrefcocog", "sugarcrepe", "valse/pieces",
    }  # fmt: skip
    config = SuiteConfig(data_root=str(shared_data / "bench"), models={"m": encoder}, runtime=runtime)
    store = store_of(encoder, config.store_root)
    things = things_of(*wanted(one.located.items for one in survey.prepared), ImageReader(images))
    manifest = embed(encoder, things, store, images, config)
    assert manifest is not None
    vectors = read_vectors(store, things)
    alone = sum(len({p for row in one.located.items["images"].to_pylist() for p in row}) for one in survey.prepared)
    assert manifest.rows_kept == manifest.rows_read == len(things.ids)
    assert len(set(things.pictures.values())) < alone / 3  # what is reused
    results = {one.benchmark.name: evaluate(one, vectors) for one in survey.prepared}
    for result in results.values():
        for figure in result.figures:
            assert figure.estimate.missing == 0, result.notes
            assert np.isfinite(figure.estimate.value)
    mcq = results["negbench/mcq-coco"]
    figure = mcq.figures[0]
    assert 0.1 < figure.estimate.value < 0.6
    assert figure.estimate.low is not None
    assert figure.estimate.low < figure.estimate.value
    assert mcq.notes == {"files not read": 1}
    assert {"type prior", "caption-only regression", "second longest", "the model, other images"} <= set(mcq.controls)
    assert mcq.gain is not None
    assert mcq.gain[1].value == pytest.approx(figure.estimate.value - mcq.controls[mcq.gain[0]].value)
    assert embed(encoder, things, store, images, config) is None
    again = evaluate(survey.prepared[0], read_vectors(store, things))
    assert again.rows.equals(results[again.benchmark.name].rows)
    with pytest.raises(ConfigError, match="another split"):
        prepare(str(shared_data / "bench"), str(shared_data / "coco/train2017"), ["negbench/mcq-coco"])
    refused = prepare(str(shared_data / "bench"), str(shared_data / "coco/train2017")).refused
    assert "another split" in refused["negbench/mcq-coco"]


def test_published_figures_name_benchmarks_and_metrics_that_exist() -> None:
    found = references()
    assert len(found.rows) > 80
    for row in found.rows:
        metrics = {metric.name for metric in metrics_of(RELEASED[row.benchmark].task)}
        assert row.metric.split("/positive")[0].split("/negative")[0].split("/hybrid")[0] in metrics, row
        assert 0 < row.fraction < 1
    clip = next(row for row in found.of("negbench/mcq-coco", "accuracy") if row.model == "CLIP B/32")
    assert (clip.fraction, clip.source) == (pytest.approx(0.392), "negbench")
    assert any("16.27" in fault for fault in found.faults(clip))
    assert len(found.faults(clip)) == 3


ROW = "{benchmark: a, metric: b, model: c, value: 1, source: z, evidence: paper}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"rows: [{ROW}]", "'z' of 'c' is not listed"),
        (f"rows: [{ROW.replace('1', 'x')}]", r"rows\.0\.value"),
        (f"rows: [{ROW.replace('paper', 'hearsay')}]", r"rows\.0\.evidence"),
        (f"sources: {{z: {{paper: p}}}}\nrows:\n  - {ROW}\n  - {ROW}\n", "stands twice"),
    ],
)  # fmt: skip
def test_bad_reference_files_are_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_references(text, "r.yaml")
