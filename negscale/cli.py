"""The command line: ``negscale VERB NAME [-c fragment]... [key=value]...``. People read stderr, --json prints to stdout.

Exit codes: 0 done, 2 configuration or plan, 3 quarantine over budget, 4 fatal, 130 interrupted.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console

from negscale import __version__, app, verbs
from negscale.core.errors import NegscaleError, QuarantineBudgetError
from negscale.core.run import Manifest
from negscale.report import terminal
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
def export(
    run: RunUri,
    to: Annotated[str, typer.Option("--to", help=f"One of {', '.join(verbs.EXPORTS)}.")],
    out: Annotated[str, typer.Option("--out", help="File or folder to write; default: beside the run.")] = "",
    allow_over_budget: Annotated[bool, typer.Option("--allow-over-budget")] = False,
    licence: Annotated[str, typer.Option("--license", help="Licence id for the card, e.g. cc-by-4.0 (parquet).")] = "",
    as_json: Json = False,
) -> None:
    """Write a finished run in a format that others read: coco-json (NegationCLIP's) or parquet (with a card)."""
    result = verbs.export(RunFolder(run), to, out, allow_over_budget, licence)
    _show(f"{result['rows']:,} rows written to {result['path']}", result, as_json)


@cli.command()
def version() -> None:
    """Print the version."""
    print(__version__)


def _finished(uri: str, manifest: Manifest, as_json: bool) -> None:
    mix = verbs.negation_mix(RunFolder(uri))
    _show(terminal.counts_table(manifest), {"run": uri, **asdict(manifest), **({"mix": mix} if mix else {})}, as_json)
    if mix and not as_json:
        _err.print(terminal.mix_table(mix["forms"], mix["positions"]))
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
