"""What each verb finds out and how it is shown; the command line only parses and prints."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from negscale import app
from negscale.app import Prepared
from negscale.core.errors import ConfigError, PlanError
from negscale.core.explode import Explode
from negscale.core.run import judge_budget
from negscale.executors import drive
from negscale.executors.pools import Cluster, plan_pools, shards_per_block
from negscale.exports.formats import FORMATS, ExportOptions
from negscale.metrics.agreement import Agreement
from negscale.planning.preview import preview_listing, preview_pipeline
from negscale.questions.audit import audit_files
from negscale.report import terminal
from negscale.report.questions_page import questions_page
from negscale.report.review import review_table
from negscale.review.sample import draw_sample
from negscale.review.server import ReviewServer
from negscale.review.session import Session
from negscale.review.summary import current_summary, record, record_if_new
from negscale.storage.audit import AuditReport
from negscale.storage.audit import audit as audit_run
from negscale.storage.folder import LocalFolder, attempt_name, open_folder
from negscale.storage.parts import KINDS, sum_digests
from negscale.storage.row_story import RowStory, find_row
from negscale.storage.run_folder import RunFolder

EXPORTS = tuple(FORMATS)


# -- plan ---------------------------------------------------------------------------------------------------------------


def plan(prepared: Prepared) -> dict[str, Any]:
    """Stages with their columns, workers, rows, fingerprint. Asks the named cluster what it has; a local one is assumed."""
    spec, runtime = prepared.spec, prepared.config.runtime
    stages = []
    for step in spec.pipeline.steps:
        if isinstance(step, Explode):
            stages.append({"stage": step.name, "reads": [step.column], "adds": [step.into]})
        else:
            stages.append({"stage": step.name, "reads": step.reads.names, "adds": step.writes.names})
    pools: list[dict[str, Any]] = []
    together = 1
    if runtime.executor == "ray":
        planned = plan_pools(spec.pipeline, _cluster(prepared))
        together = runtime.shards_per_block or shards_per_block(
            len(prepared.listing.shards), prepared.listing.rows, planned
        )
        pools = [
            {"stages": list(p.names), "workers": p.actors, "cpus": p.cpus, "gpus": p.gpus, "custom": dict(p.custom)}
            for p in planned
        ]
    exact = {role: backend.exact for role, backend in prepared.recipe.backends(prepared.config).items()}
    return {
        "name": spec.name, "version": spec.version, "run": spec.uri, "fingerprint": prepared.fingerprint,
        "rows": prepared.listing.rows, "shards": len(prepared.listing.shards), "shards_per_block": together,
        "stages": stages, "pools": pools, "models": dict(spec.pipeline.facts), "exact": exact,
        "code": spec.code,
    }  # fmt: skip


def _cluster(prepared: Prepared) -> Cluster:
    runtime = prepared.config.runtime
    if not (runtime.ray_address or os.environ.get("RAY_ADDRESS")) or runtime.ray_address == "local":
        cpus = float(runtime.ray_cpus or len(os.sched_getaffinity(0)))
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 0.7
        here = {"CPU": cpus, "memory": memory, "GPU": float(_gpus_here())}
        return Cluster(here, here)
    from negscale.executors.ray_session import ray_session  # connecting is the only thing here that needs Ray

    with ray_session(runtime) as cluster:
        return cluster


def _gpus_here() -> int:
    with contextlib.suppress(OSError):
        return sum(name.startswith("nvidia") and name[6:].isdigit() for name in os.listdir("/dev"))
    return 0


def plan_table(facts: Mapping[str, Any]) -> RenderableType:
    """The plan as tables."""
    stages = Table(title=f"{facts['name']}/{facts['version']}", title_justify="left")
    for column in ("stage", "reads", "adds"):
        stages.add_column(column)
    for stage in facts["stages"]:
        stages.add_row(stage["stage"], ", ".join(stage["reads"]), ", ".join(stage["adds"]))
    workers = Table(title="workers", title_justify="left")
    for column in ("stages", "workers", "CPU each", "GPU each"):
        workers.add_column(column)
    for pool in facts["pools"]:
        workers.add_row("\n".join(pool["stages"]), str(pool["workers"]), f"{pool['cpus']:g}", f"{pool['gpus']:g}")
    models = Table(title="models", title_justify="left")
    for column in ("role", "model", "same output on every cluster"):
        models.add_column(column)
    for role, model in facts["models"].items():
        models.add_row(role, model, "yes" if facts["exact"][role] else "no (ids are, texts may differ)")
    text = (
        f"{facts['rows']:,} rows in {facts['shards']:,} shards · fingerprint {facts['fingerprint']}\n"
        f"run folder: {facts['run']}"
    )
    return Group(stages, *([workers] if facts["pools"] else []), models, Text(text))


# -- preview ------------------------------------------------------------------------------------------------------------


def take_rows(overrides: Sequence[str], default: int) -> tuple[int, list[str]]:
    """``rows=N`` out of the overrides. Raises ConfigError when N is no positive number."""
    rows, rest = default, []
    for override in overrides:
        if override.startswith("rows="):
            value = override.removeprefix("rows=")
            if not value.isdigit() or int(value) < 1:
                raise ConfigError(f"rows={value!r}: expected a positive whole number, e.g. rows=20")
            rows = int(value)
        else:
            rest.append(override)
    return rows, rest


def preview(prepared: Prepared, rows: int) -> dict[str, Any]:
    """Run `rows` rows through the configured executor in a folder that goes afterwards."""
    listing = preview_listing(prepared.listing, rows)
    runtime, token = prepared.config.runtime, attempt_name()
    runtime = runtime.model_copy(update={"run_root": f"{runtime.run_root.rstrip('/')}/previews", "version": token})
    config = prepared.config.model_copy(update={"runtime": runtime})  # images that stages make go there too
    factory = functools.partial(preview_pipeline, prepared.recipe.build, config)
    pipeline = replace(factory(), facts=prepared.spec.pipeline.facts)
    spec = replace(prepared.spec, pipeline=pipeline, factory=factory, version=token, runtime=runtime)
    manifest = drive.generate(spec, app.executor_for(prepared.config), listing)
    run = RunFolder(spec.uri)
    found = [row for kind in KINDS for _, table in run.tables(kind) for row in table.to_pylist()]
    found.sort(key=lambda row: row["id"])
    _forget(run)
    seconds = {
        stage: {"rows": n["rows"], "ms_per_row": round(1000 * n["seconds"] / n["rows"], 3) if n["rows"] else None}
        for stage, n in manifest.stages.items()
    }
    return {"rows": found, "stages": seconds, "source_rows": prepared.listing.rows}


def _forget(run: RunFolder) -> None:
    for prefix in ("", *KINDS, "attempts", "incarnations", "lock", "images"):
        for entry in list(run.folder.list(prefix)):
            run.folder.delete(entry.path)
    if isinstance(run.folder, LocalFolder):
        for sub in (*KINDS, "attempts", "incarnations", "lock", "images", ""):
            with contextlib.suppress(OSError):
                (run.folder.path / sub).rmdir()


def preview_table(result: Mapping[str, Any]) -> RenderableType:
    """Previewed rows and the measured time of each stage."""
    times = Table(title="time a row, warm-up of these few rows included", title_justify="left")
    times.add_column("stage")
    times.add_column("rows", justify="right")
    times.add_column("ms a row", justify="right")
    for stage, numbers in result["stages"].items():
        times.add_row(
            stage, f"{numbers['rows']:,.0f}", "-" if numbers["ms_per_row"] is None else f"{numbers['ms_per_row']:g}"
        )
    return Group(terminal.rows_table(result["rows"]), times, Text(f"of {result['source_rows']:,} rows in the source"))


# -- a run folder -------------------------------------------------------------------------------------------------------


def status(run: RunFolder) -> dict[str, Any]:
    """Counts so far, from the commits alone."""
    record, shards = run.record(), run.shards()
    commits = run.commits()
    manifest = run.manifest()
    rows, quarantined = sum(c.rows_out for c in commits), sum(c.quarantined for c in commits)
    budget = app.load_runtime(run).quarantine_budget
    if manifest is not None and manifest.content_digest == sum_digests(c.digest for c in commits):
        state = manifest.status
    else:
        state = "running or interrupted" if len(commits) < len(shards) else judge_budget(quarantined, rows, budget)
    reasons: dict[str, int] = {}
    faults: dict[str, int] = {}
    for commit in commits:
        for into, counts in ((reasons, commit.reasons), (faults, commit.faults)):
            for key, count in counts.items():
                into[key] = into.get(key, 0) + count
    return {
        "name": record["name"], "version": record["version"], "fingerprint": record["fingerprint"], "status": state,
        "shards": len(shards), "shards_committed": len(commits), "rows_listed": sum(s.rows for s in shards),
        "rows_read": sum(c.rows_read for c in commits), "kept": sum(c.kept for c in commits),
        "rejected": sum(c.rejected for c in commits), "quarantined": quarantined,
        "rejections": dict(sorted(reasons.items(), key=lambda i: -i[1])),
        "faults": dict(sorted(faults.items(), key=lambda i: -i[1])),
        "retried_shards": sum(c.generation > 0 for c in commits), "seconds": manifest.seconds if manifest else None,
        "mix": negation_mix(run) if manifest else None, "review": current_summary(run) or None,
        "judges": judges_agreement(run) if manifest else None,
    }  # fmt: skip


def status_table(facts: Mapping[str, Any]) -> RenderableType:
    """Status as a table."""
    out = max(1, facts["kept"] + facts["rejected"] + facts["quarantined"])
    table = Table(title=f"{facts['name']}/{facts['version']}: {facts['status']}", title_justify="left")
    table.add_column("rows", justify="right")
    table.add_column("share", justify="right")
    table.add_column("what became of them")
    for key, what in (("kept", "kept"), ("rejected", "rejected"), ("quarantined", "quarantined")):
        table.add_row(f"{facts[key]:,}", f"{facts[key] / out:.1%}", what)
    for counts in (facts["rejections"], facts["faults"]):
        for reason, count in counts.items():
            table.add_row(f"{count:,}", f"{count / out:.1%}", f"  {reason}", style="dim")
    text = (
        f"{facts['shards_committed']:,} of {facts['shards']:,} shards · {facts['rows_read']:,} of {facts['rows_listed']:,} rows "
        f"read · {facts['retried_shards']} shards retried · fingerprint {facts['fingerprint']}"
    )
    mix = facts["mix"]
    review = facts["review"]
    return Group(
        table, *([terminal.mix_table(mix)] if mix else []),
        *([review_table(review)] if review else []), *([terminal.judges_line(facts["judges"])] if facts["judges"] else []),
        Text(text),
    )  # fmt: skip


def audit(run: RunFolder) -> AuditReport:
    """See `negscale.storage.audit`."""
    run.record()
    return audit_run(run)


def why(run: RunFolder, row_id: str) -> tuple[RowStory, list[tuple[str, list[str]]]]:
    """A row's story and the stages of its run with the columns that they write."""
    story = find_row(run, row_id)
    pipeline = app.pipeline_of(run)
    stages = [
        (step.name, [step.into] if isinstance(step, Explode) else list(step.writes.names)) for step in pipeline.steps
    ]
    return story, stages


_MIX = ("negation_form", "negation_position", "negation_kind", "caption_order", "question_type")


def negation_mix(run: RunFolder) -> dict[str, dict[str, int]] | None:
    """Kept rows per negation form, position, kind and question type, whichever the run has; None where it has none."""
    names = set(app.pipeline_of(run).plan().names)
    columns = [name for name in _MIX if name in names]
    mix: dict[str, dict[str, int]] = {name: {} for name in columns}
    for _, table in run.tables("data", columns) if columns else ():
        for name in columns:
            for value in table[name].to_pylist():
                mix[name][str(value)] = mix[name].get(str(value), 0) + 1
    return mix or None


_SEEN = ("object_seen", "second_object_seen")


def judges_agreement(run: RunFolder) -> dict[str, Any] | None:
    """How far two judges of edits agree over kept and refused rows; None where there are not two."""
    steps = [step for step in app.pipeline_of(run).steps if not isinstance(step, Explode)]
    if not any(set(_SEEN) <= set(step.writes.names) for step in steps):
        return None
    found = Agreement()
    for kind in ("data", "rejected"):
        for _, table in run.tables(kind, _SEEN):
            found.add(*(table[name].to_pylist() for name in _SEEN))
    return found.facts() if found.rows else None


def review_server(
    run: RunFolder, reviewer: str, size: int = 200, seed: int = 0, port: int = 0, overrides: Sequence[str] = ()
) -> ReviewServer:
    """The page on which `reviewer` checks a sample of kept rows; serves once it is entered."""
    images = app.reader_of(run, overrides)
    return ReviewServer(Session(run, draw_sample(run, size, seed), images, reviewer, seed), port)


def review_summary(run: RunFolder) -> dict[str, Any]:
    """Figures of all reviewers' answers, which are also written to the run folder and its manifest."""
    run.record()
    return record(run)


def export(
    run: RunFolder, to: str, out: str, options: ExportOptions | None = None, overrides: Sequence[str] = ()
) -> dict[str, Any]:
    """Write a finished run in another format. Raises PlanError for unfinished runs, ConfigError for unknown formats.

    overrides: corrected locations of the images (``source.root=...``), for formats that hold them.
    """
    if to not in EXPORTS:
        raise ConfigError(f"--to {to!r} is unknown; known: {', '.join(EXPORTS)}")
    if run.manifest() is None:
        raise PlanError(f"run {run.uri} is not finished; finish it with negscale generate first")
    record_if_new(run)  # so that the card shows what people found
    result = FORMATS[to](run, out, functools.partial(app.reader_of, run, overrides), options or ExportOptions())
    return {"format": to, "path": result.path, "rows": result.rows}


# -- questions ----------------------------------------------------------------------------------------------------------


def audit_questions(paths: Sequence[str], objects: Sequence[str], page: str) -> list[dict[str, Any]]:
    """Blind audits of question files; `page`: where to write them as HTML, "" for nowhere."""
    facts = [audit.facts() for audit in audit_files(paths, objects)]
    if page:
        html = questions_page(facts)
        folder, _, name = page.rpartition("/")
        open_folder(folder or ".").write(name, html.encode())
    return facts
