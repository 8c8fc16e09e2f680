"""``negscale eval BENCHMARK`` and ``negscale eval all``: run or resume the evaluation, reduce its rows to scores, show them."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import pyarrow.parquet as pq
import typer
from rich.console import Console

from negscale import app
from negscale.app import Prepared
from negscale.benchmarks import cells
from negscale.benchmarks.catalogue import RELEASED
from negscale.benchmarks.evaluation import ITEMS, METRICS, Benchmark, run_rows, score, scores_as_json, to_bytes
from negscale.benchmarks.registry import ALL, BENCHMARKS, find_benchmark
from negscale.benchmarks.suite_config import SuiteConfig, model_fragments
from negscale.core import config as configs
from negscale.core.errors import ConfigError, QuarantineBudgetError
from negscale.core.run import Manifest
from negscale.executors.drive import Watcher
from negscale.report import terminal
from negscale.report.evaluation import groups_table, scores_table
from negscale.report.suite import suite_table
from negscale.storage.run_folder import RunFolder
from negscale.suite import run_suite

# a log file has no width of its own; 80 columns would fold every table
_err = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else 120)


def evaluate(
    name: Annotated[
        str, typer.Argument(help="A benchmark (nein, negbench/mcq-coco), or all that data_root holds: all.")
    ],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[key=value]...", help="Dotted config keys.")] = None,
    config: Annotated[
        list[str] | None, typer.Option("-c", "--config", help="A YAML fragment, e.g. backends/nein_eval_paper.")
    ] = None,
    fork: Annotated[
        bool, typer.Option("--fork", help="Start a new version where the folder holds another evaluation.")
    ] = False,
    by: Annotated[
        str, typer.Option("--by", metavar="SCORE", help="Also show this score by object, e.g. removal/vqa.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable result on stdout.")] = False,
) -> None:
    """Evaluate on one benchmark or all: start or resume the run, then print every score with its interval and what is missing.

    all, and benchmarks of released files: data_root=FOLDER image_root=FOLDER models=[NAME, ...] of configs/models, or
    models.MINE.kind=open_clip_encoder models.MINE.model=ViT-B-32 models.MINE.path=FILE.
    """
    if name == ALL or name in RELEASED:
        if by or fork:
            raise ConfigError(f"--by and --fork are for {', '.join(BENCHMARKS)}; `eval {name}` has neither")
        _suite([] if name == ALL else [name], config or [], overrides or [], as_json)
        return
    benchmark = find_benchmark(name)
    prepared = app.prepare(benchmark.recipe, config or [], overrides or [], fork)
    result = run_benchmark(benchmark, prepared, terminal.Progress(_err))
    if as_json:
        print(json.dumps(result.facts, indent=1))
    else:
        _err.print(scores_table(result.facts))
    if by:
        _err.print(groups_table(_chosen(result.facts, by), benchmark.group or "group"))
    _err.print(f"scores: {result.facts['run']}/{METRICS}, items: {ITEMS} beside it", soft_wrap=True)
    if result.manifest.status == "over_budget":
        raise QuarantineBudgetError(
            f"{result.manifest.rows_quarantined:,} rows are quarantined and missing in every score: see negscale status "
            f"{result.facts['run']}, mend the cause, run negscale retry, then the same command again"
        )


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A finished evaluation."""

    manifest: Manifest
    facts: dict[str, Any]  # what metrics.json holds


def run_benchmark(benchmark: Benchmark, prepared: Prepared, watcher: Watcher | None = None) -> Evaluation:
    """Carry the run to its end and write items.parquet and metrics.json into its folder; a finished run is only reduced."""
    manifest = app.generate(prepared, watcher)
    run = RunFolder(prepared.spec.uri)
    items = benchmark.items(run_rows(run))
    scores = score(items, benchmark.metrics(prepared.config), benchmark.group)
    facts = {
        "benchmark": benchmark.name, "benchmark_version": benchmark.version, "run": prepared.spec.uri,
        "fingerprint": manifest.fingerprint, "content_digest": manifest.content_digest, "backends": manifest.backends,
        "editor": manifest.backends.get("editor", ""), "rows": manifest.rows_read, "items": len(items),
        "quarantined": manifest.quarantined, "group": benchmark.group, "scores": scores_as_json(scores),
    }  # fmt: skip
    buffer = io.BytesIO()
    pq.write_table(
        items.drop_columns([c for c in benchmark.bulky if c in items.column_names]), buffer, compression="zstd"
    )
    run.folder.write(ITEMS, buffer.getvalue())
    run.folder.write(METRICS, to_bytes(facts))
    return Evaluation(manifest, facts)


def _suite(names: Sequence[str], fragments: Sequence[str], overrides: list[str], as_json: bool) -> None:
    models, rest = model_fragments(overrides)
    texts = app.read_fragments(["recipes/eval_all", *fragments, *models])
    result = run_suite(configs.load(SuiteConfig, texts, rest), names, lambda: terminal.Progress(_err))
    suite = result.suite
    if as_json:
        print(cells.suite_json(suite).decode(), end="")
    else:
        _err.print(suite_table(suite))
    _err.print(f"results: {suite.uri} ({cells.SUITE}, cells, items, paired)", soft_wrap=True)
    if result.over_budget:
        raise QuarantineBudgetError(
            f"more pictures or texts could not be encoded than the budget allows, and are missing in every score: see negscale "
            f"status {result.over_budget[0]}, mend the cause, run negscale retry on it, then the same command again"
        )


def _chosen(facts: dict[str, Any], name: str) -> dict[str, Any]:
    scores = {one["name"]: one for one in facts["scores"] if one["groups"]}
    if name not in scores:
        raise ConfigError(f"--by {name!r} is no score with groups; there are {', '.join(scores)}")
    return scores[name]
