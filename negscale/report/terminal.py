"""Readable tables for the terminal: plan, progress, status, audit, the story of a row, previewed rows."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from negscale.core.pipeline import Shard
from negscale.core.run import Manifest
from negscale.storage.audit import AuditReport
from negscale.storage.parts import Commit
from negscale.storage.row_story import RowStory


def counts_table(manifest: Manifest) -> RenderableType:
    """What became of a run's rows."""
    rows = max(1, manifest.rows_read + manifest.rows_added)
    table = Table(title=f"{manifest.name}/{manifest.version}: {manifest.status}", title_justify="left")
    table.add_column("rows", justify="right")
    table.add_column("share", justify="right")
    table.add_column("what became of them")
    for count, what in (
        (manifest.rows_kept, "kept"), (manifest.rows_rejected, "rejected (the data says no)"),
        (manifest.rows_quarantined, "quarantined (something broke)"),
    ):  # fmt: skip
        table.add_row(f"{count:,}", f"{count / rows:.1%}", what)
    by_count = [sorted(c.items(), key=lambda item: -item[1]) for c in (manifest.rejected, manifest.quarantined)]
    for reason, count in [*by_count[0], *by_count[1]]:
        table.add_row(f"{count:,}", f"{count / rows:.1%}", f"  {reason}", style="dim")
    facts = Text(
        f"read {manifest.rows_read:,}"
        + (f", {manifest.rows_added:,} added by explode" if manifest.rows_added else "")
        + f" · {manifest.shards:,} shards · {manifest.seconds:,.1f} s · digest {manifest.content_digest[:16]}"
        + f" · fingerprint {manifest.fingerprint}"
    )
    return Group(table, facts)


def mix_table(mix: Mapping[str, Mapping[str, int]]) -> RenderableType:
    """Counts of the kept rows by what they are: column -> value -> rows."""
    table = Table(title="the kept rows", title_justify="left")
    for name, justify in (("by", "left"), ("value", "left"), ("rows", "right"), ("share", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for column, counts in mix.items():
        total = max(1, sum(counts.values()))
        for place, (value, count) in enumerate(sorted(counts.items(), key=lambda item: -item[1])):
            table.add_row("" if place else column.replace("_", " "), value, f"{count:,}", f"{count / total:.1%}")
        table.add_section()
    return table


def judges_line(facts: Mapping[str, Any]) -> RenderableType:
    """Agreement of the two judges of edits."""
    kappa = "" if facts["kappa"] is None else f", kappa {facts['kappa']:.2f}"
    return Text(
        f"two judges agree on {facts['share']:.1%} of {facts['rows']:,} edits{kappa}: both see the object {facts['both_yes']:,}, "
        f"neither {facts['both_no']:,}, the first alone {facts['first_only']:,}, the second alone {facts['second_only']:,}"
    )


def audit_table(report: AuditReport) -> RenderableType:
    """The sum that an audit proves, and every problem."""
    total = report.kept + report.rejected + report.quarantined
    sign = "=" if report.rows_read + report.rows_added == total else "≠"
    lines = [
        f"{report.rows_read:,} read + {report.rows_added:,} added {sign} {report.kept:,} kept + {report.rejected:,} rejected + "
        f"{report.quarantined:,} quarantined",
        f"{report.committed:,} of {report.shards:,} shards committed · {report.orphans} orphan parts · "
        f"digest {report.content_digest}",
    ]
    verdict = Text("audit passed" if report.passed else f"audit FAILED: {len(report.problems)} problems", style="bold")
    return Group(*map(Text, lines), *[Text(f"- {p}", style="red") for p in report.problems[:50]], verdict)


def story_table(story: RowStory, stages: Sequence[Any]) -> RenderableType:
    """One row from the source to where it ended, stage by stage. stages: (name, columns written)."""
    table = Table(title=f"{story.row['id']}: {story.place}", title_justify="left", show_lines=False)
    table.add_column("stage")
    table.add_column("column")
    table.add_column("value", overflow="fold")
    written = {column for _, columns in stages for column in columns}
    for column, value in story.row.items():
        if column not in written and column not in ("id", "rejection", "quarantine"):
            table.add_row("source", column, _shown(value))
    for name, columns in stages:
        for column in columns:
            if story.row.get(column) is not None:
                table.add_row(name, column, _shown(story.row[column]))
        for mark, fact, style in (("rejection", "rejected", "yellow"), ("quarantine", "quarantined", "red")):
            found = story.row.get(mark)
            if found and found["stage"] == name:
                why = found.get("reason") or f"{found['kind']}: {found['message']}"
                table.add_row(name, fact, why, style=style)
    broke = story.row.get("quarantine")
    if broke and broke["stage"] not in {name for name, _ in stages}:
        table.add_row(broke["stage"], "quarantined", f"{broke['kind']}: {broke['message']}", style="red")
    commit = story.commit
    facts = f"shard {commit.shard}, generation {commit.generation}, attempt {commit.attempt}"
    if broke:
        facts += " · retryable" if broke["retryable"] else " · not retryable unless named with retry --where"
    if story.relatives:
        facts += f" · relatives: {', '.join(story.relatives[:10])}"
    return Group(table, Text(facts))


_ASKED = ("absent_object", "question", "finding")
_TEXTS = ("caption", "expression")


def rows_table(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Previewed rows with their fates."""
    table = Table(show_lines=True)
    for name in ("id", "text", "asked", "presence", "outcome"):
        table.add_column(name, overflow="fold")
    for row in rows:
        if row["quarantine"]:
            outcome = Text(
                f"quarantined: {row['quarantine']['kind']}: {row['quarantine']['message']}"[:300], style="red"
            )
        elif row["rejection"]:
            outcome = Text(f"rejected: {row['rejection']['reason']}", style="yellow")
        else:
            outcome = Text(_made(row), style="green")
        score = row.get("presence_score")
        table.add_row(
            row["id"], _first(row, _TEXTS)[:300], _first(row, _ASKED), "" if score is None else f"{score:.3f}", outcome,
        )  # fmt: skip
    return table


def _first(row: Mapping[str, Any], names: Sequence[str]) -> str:
    return next((str(row[name]) for name in names if row.get(name)), "")


def _made(row: Mapping[str, Any]) -> str:
    """What a kept row holds that it did not come with."""
    if row.get("options"):
        return "\n".join(f"{'✓' if k == row.get('answer') else '✗'} {text}" for k, text in enumerate(row["options"]))
    return str(row.get("negated_caption") or "kept")


class Progress:
    """Live lines on stderr: shards done, rows by fate, rows/s per stage, time left. A `Watcher`."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None
        self._begin = 0.0
        self._todo = self._done = self._rows_todo = self._rows = 0
        self._before = 0
        self._fates = {"kept": 0, "rejected": 0, "quarantined": 0}
        self._stages: dict[str, list[float]] = {}
        self._last_line = 0.0

    def started(self, todo: Sequence[Shard], done: int, names: Sequence[str]) -> None:
        self._begin, self._todo, self._before = time.monotonic(), len(todo), done
        self._rows_todo = sum(shard.rows for shard in todo)
        self._stages = {name: [0.0, 0.0] for name in names}
        if self._console.is_terminal:
            self._live = Live(self._render(), console=self._console, refresh_per_second=2, transient=True)
            self._live.start()
        else:
            resumed = f", {done} done before" if done else ""
            self._console.print(f"{len(todo)} shards to do ({self._rows_todo:,} rows){resumed}; starting workers")

    def committed(self, commit: Commit) -> None:
        self._done += 1
        self._rows += commit.rows_read
        for fate in self._fates:
            self._fates[fate] += getattr(commit, fate)
        for stage, numbers in commit.stages.items():
            totals = self._stages.setdefault(stage, [0.0, 0.0])
            totals[0] += numbers["rows"]
            totals[1] += numbers["seconds"]
        if self._live is not None:
            self._live.update(self._render())
        elif time.monotonic() - self._last_line > 10:  # a log file wants a line now and then
            self._last_line = time.monotonic()
            self._console.print(self._line())

    def ended(self) -> None:
        if self._live is not None:
            self._live.stop()
        self._console.print(self._line())

    def _line(self) -> str:
        seconds = max(1e-9, time.monotonic() - self._begin)
        rate = self._rows / seconds
        left = (self._rows_todo - self._rows) / rate if rate else float("inf")
        fates = ", ".join(f"{count:,} {fate}" for fate, count in self._fates.items())
        eta = f"{left:,.0f} s left" if left != float("inf") else "starting"
        return f"{self._done}/{self._todo} shards · {fates} · {rate:,.0f} rows/s · {eta}"

    def _render(self) -> RenderableType:
        table = Table(box=None, pad_edge=False)
        table.add_column("stage")
        table.add_column("rows", justify="right")
        table.add_column("rows/s per worker", justify="right")
        for name, (rows, seconds) in self._stages.items():
            table.add_row(name, f"{rows:,.0f}", f"{rows / seconds:,.0f}" if seconds else "-")
        return Group(Text(self._line()), table)


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k}={_shown(v)}" for k, v in value.items() if v is not None)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)
