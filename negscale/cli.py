"""The command line: ``negscale VERB NAME [-c fragment]... [key=value]...``. People read stderr, --json prints to stdout.

Exit codes: 0 done, 2 configuration or plan, 3 quarantine over budget, 4 fatal, 130 interrupted.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import re
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console

from negscale import (
    __version__,
    app,
    build_verbs,
    data_verbs,
    eval_verbs,
    mission_verbs,
    report_verbs,
    train_verbs,
    verbs,
)
from negscale.core.errors import NegscaleError, QuarantineBudgetError
from negscale.core.run import Manifest
from negscale.report import terminal
from negscale.report.questions import questions_table
from negscale.report.review import review_table
from negscale.storage.run_folder import RunFolder

cli = typer.Typer(
    add_completion=False, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False, help=__doc__
)
# a log file has no width of its own; 80 columns would fold every table
_err = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else 120)

Name = Annotated[str, typer.Argument(help="A recipe, e.g. negationclip_p1.")]
RunUri = Annotated[str, typer.Argument(metavar="RUN", help="A run folder or URI, e.g. runs/negationclip/p1/dev.")]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="[key=value]...", help="Dotted config keys.")]
Fragments = Annotated[
    list[str] | None, typer.Option("-c", "--config", help="A YAML fragment, e.g. backends/photos_cpu.")
]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable result on stdout.")]


@cli.command()
def plan(name: Name, overrides: Overrides = None, config: Fragments = None, as_json: Json = False) -> None:
    """Show stages, columns, workers, fingerprint and rows; starts nothing."""
    facts = verbs.plan(app.prepare(name, config or [], overrides or []))
    _show(verbs.plan_table(facts), facts, as_json)


@cli.command()
def preview(name: Name, overrides: Overrides = None, config: Fragments = None, as_json: Json = False) -> None:
    """Run rows=20 rows with the real models and show them before money is spent."""
    rows, rest = verbs.take_rows(overrides or [], default=20)
    result = verbs.preview(app.prepare(name, config or [], rest), rows)
    _show(verbs.preview_table(result), result, as_json)


@cli.command()
def generate(
    name: Name,
    overrides: Overrides = None,
    config: Fragments = None,
    fork: Annotated[
        bool, typer.Option("--fork", help="Start a new version where the folder holds another recipe.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Start or resume a run."""
    prepared = app.prepare(name, config or [], overrides or [], fork)
    manifest = app.generate(prepared, terminal.Progress(_err))
    _finished(prepared.spec.uri, manifest, as_json)


@cli.command()
def status(run: RunUri, as_json: Json = False) -> None:
    """Counts, reasons and pace of a run, finished or not; works with Ray dead."""
    facts = verbs.status(RunFolder(run))
    _show(verbs.status_table(facts), facts, as_json)


@cli.command()
def audit(run: RunUri, as_json: Json = False) -> None:
    """Prove by counting that nothing was lost and nothing came twice; exit code 4 when it fails."""
    report = verbs.audit(RunFolder(run))
    _show(terminal.audit_table(report), {**asdict(report), "passed": report.passed}, as_json)
    if not report.passed:
        raise typer.Exit(4)


@cli.command()
def why(run: RunUri, row_id: Annotated[str, typer.Argument(metavar="ID")], as_json: Json = False) -> None:
    """The whole story of one row."""
    story, stages = verbs.why(RunFolder(run), row_id)
    _show(
        terminal.story_table(story, stages),
        {"place": story.place, "row": story.row, "commit": asdict(story.commit)},
        as_json,
    )


@cli.command()
def retry(
    run: RunUri,
    overrides: Overrides = None,
    where: Annotated[list[str] | None, typer.Option("--where", help="kind=..., stage=... or id=...")] = None,
    as_json: Json = False,
) -> None:
    """Run only quarantined rows again, and merge them; without --where those marked retryable."""
    manifest, tried = app.retry(run, where or [], overrides or [], terminal.Progress(_err))
    _err.print(f"{tried:,} quarantined rows tried again")
    _finished(run, manifest, as_json)


@cli.command()
def review(
    run: RunUri,
    overrides: Overrides = None,
    sample: Annotated[int, typer.Option("--sample", help="Kept rows to look at, drawn uniformly.")] = 200,
    seed: Annotated[int, typer.Option("--seed", help="Of the sample; the same seed shows the same rows.")] = 0,
    reviewer: Annotated[str, typer.Option("--reviewer", help="Name kept with the answers; default: the user.")] = "",
    port: Annotated[int, typer.Option("--port", help="Of the page on 127.0.0.1; default: a free one.")] = 0,
    summary: Annotated[bool, typer.Option("--summary", help="Only print the precision that the answers give.")] = False,
    as_json: Json = False,
) -> None:
    """Check a random sample of kept rows by eye: a local page with keys; the precision goes to status, card and manifest."""
    if not summary:
        name = reviewer or re.sub(r"[^A-Za-z0-9_-]", "-", getpass.getuser())
        with verbs.review_server(RunFolder(run), name, sample, seed, port, overrides or []) as server:
            _err.print(f"open {server.url} and answer there; Ctrl-C here when done", soft_wrap=True, markup=False)
            # a background job of a script inherits an ignored SIGINT, and service managers send SIGTERM: both end the page
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.default_int_handler)
            with contextlib.suppress(KeyboardInterrupt):
                threading.Event().wait()
    facts = verbs.review_summary(RunFolder(run))
    _show(review_table(facts), facts, as_json)


@cli.command()
def export(
    run: RunUri,
    to: Annotated[str, typer.Option("--to", help=f"One of {', '.join(verbs.EXPORTS)}.")],
    overrides: Overrides = None,
    out: Annotated[str, typer.Option("--out", help="File or folder to write; default: beside the run.")] = "",
    allow_over_budget: Annotated[bool, typer.Option("--allow-over-budget")] = False,
    licence: Annotated[str, typer.Option("--license", help="Licence id for the card, e.g. cc-by-4.0.")] = "",
    chat_format: Annotated[str, typer.Option("--chat-format", help="Of chat-json: llava or sharegpt.")] = "llava",
    rows_per_file: Annotated[int, typer.Option("--rows-per-file", help="Of webdataset and parquet.", min=0)] = 0,
    form: Annotated[str, typer.Option("--form", help="Of nein-json: quintuplets or generation.")] = "quintuplets",
    embed: Annotated[bool, typer.Option("--embed-images", help="Of parquet: with the images themselves.")] = False,
    as_json: Json = False,
) -> None:
    """Write a finished run in a format that others read: a file (the -json ones of papers) or a folder with a card.

    A training's checkpoint: --to open-clip, openai, clip or clip-text.
    """
    if train_verbs.export(run, to, out, as_json):
        return
    options = verbs.ExportOptions(
        allow_over_budget=allow_over_budget, license_id=licence, chat_format=chat_format, rows_per_file=rows_per_file,
        form=form, embed_images=embed,
    )  # fmt: skip
    result = verbs.export(RunFolder(run), to, out, options, overrides or [])
    _show(f"{result['rows']:,} rows written to {result['path']}", result, as_json)


cli.command()(data_verbs.scan)
cli.command()(data_verbs.guard)
cli.command()(report_verbs.report)
cli.command()(build_verbs.build)
cli.command("eval")(eval_verbs.evaluate)
cli.command()(train_verbs.train)
cli.command()(mission_verbs.mission)


@cli.command("audit-questions")
def audit_questions(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="NegBench MCQ CSV, VALSE or SugarCrepe JSON.")],
    page: Annotated[str, typer.Option("--html", metavar="PAGE", help="Also write one HTML page with charts.")] = "",
    objects: Annotated[
        str, typer.Option("--objects", help="Class names beyond COCO's and Pascal VOC's: hat,tree")
    ] = "",
    as_json: Json = False,
) -> None:
    """Show how much of multiple-choice questions can be solved without their images."""
    facts = verbs.audit_questions(files, [name for name in objects.split(",") if name.strip()], page)
    _show(questions_table(facts), facts, as_json)


@cli.command()
def version() -> None:
    """Print the version."""
    print(__version__)


def _finished(uri: str, manifest: Manifest, as_json: bool) -> None:
    mix = verbs.negation_mix(RunFolder(uri))
    _show(terminal.counts_table(manifest), {"run": uri, **asdict(manifest), **({"mix": mix} if mix else {})}, as_json)
    if mix and not as_json:
        _err.print(terminal.mix_table(mix))
    _err.print(f"run folder: {uri}", soft_wrap=True)
    if manifest.status == "over_budget":
        raise QuarantineBudgetError(
            f"{manifest.rows_quarantined:,} of {manifest.rows_read + manifest.rows_added:,} rows are quarantined, more than the "
            f"budget of {manifest.runtime['quarantine_budget']:.1%}: see negscale status {uri}, mend the cause, then retry"
        )


def _show(shown: Any, facts: Any, as_json: bool) -> None:
    if as_json:
        print(json.dumps(facts, indent=1, default=_plain))
    else:
        _err.print(shown)


def _plain(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else str(value)


def guarded(call: Callable[[], None]) -> int:
    """Run `call`; our own errors become one readable line and their exit code."""
    try:
        call()
    except NegscaleError as error:
        _err.print(f"negscale: {error}", style="red", markup=False, soft_wrap=True)
        return error.exit_code
    except KeyboardInterrupt:
        _err.print("negscale: interrupted; finished shards are kept, run the same command again to go on")
        return 130
    return 0


def main() -> None:
    """Entry point."""
    sys.exit(guarded(cli))


if __name__ == "__main__":
    main()
