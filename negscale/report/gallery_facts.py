"""What the head of a gallery says of a run: counts, models, recipe, and the runs that its rows come from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import yaml

from negscale.core.errors import NegscaleError
from negscale.core.run import Manifest
from negscale.report.gallery_rows import clip
from negscale.review.summary import current_summary
from negscale.storage.parts import Commit, sum_digests
from negscale.storage.run_folder import RunFolder

_DEEPEST = 20  # runs that come from runs
_INPUT_TEXT = 300  # characters of one fact of the input


@dataclass(frozen=True, slots=True)
class Ancestor:
    """A run whose kept rows were the input."""

    name: str
    version: str  # "" where only its child's record is there to be read
    fingerprint: str
    digest: str
    rows: int | None
    uri: str
    there: bool  # its folder can be read


def run_facts(run: RunFolder, commits: Sequence[Commit]) -> dict[str, Any]:
    """Facts of a run, finished or not, from its record and its commits. Raises PlanError where there is no run."""
    record, manifest = run.record(), run.manifest()
    identity = record["identity"]
    state, text = _state(run, manifest, commits)
    review = current_summary(run)
    return {
        "title": f"{record['name']}/{record['version']}", "name": record["name"], "version": record["version"],
        "fingerprint": record["fingerprint"], "state": state, "state_text": text, "started": _day(record.get("created")),
        "digest": sum_digests(c.digest for c in commits), "seconds": manifest.seconds if manifest else None,
        "code": manifest.code if manifest else "",
        "counts": {
            "kept": sum(c.kept for c in commits), "rejected": sum(c.rejected for c in commits),
            "quarantined": sum(c.quarantined for c in commits),
        },
        "rows_read": sum(c.rows_read for c in commits), "rows_added": sum(c.rows_added for c in commits),
        "models": dict(manifest.backends if manifest else identity.get("models") or {}),
        "lineage": ancestors(run), "inputs": _inputs(identity.get("input") or {}),
        "recipe": json.dumps(
            {"recipe": identity.get("recipe"), "steps": identity.get("steps")}, indent=1, ensure_ascii=False, default=str
        ),
        "review": review if review and review.get("judged") else None,
    }  # fmt: skip


def ancestors(run: RunFolder) -> list[Ancestor]:
    """The runs that the rows came from, nearest first; of a folder that is gone, what its child recorded."""
    found: list[Ancestor] = []
    seen = {run.uri}
    here = run
    while len(found) < _DEEPEST:
        taken = here.record()["identity"].get("input") or {}
        if not isinstance(taken.get("run"), str) or "run_fingerprint" not in taken:
            break
        uri = source_uri(here)
        parent = RunFolder(uri) if uri else None
        version, there = "", False
        if parent is not None:
            try:
                record = parent.record()
                there = record["fingerprint"] == taken["run_fingerprint"]  # else another run took its place
                version = record["version"] if there else ""
            except (NegscaleError, OSError, ValueError):
                there = False
        found.append(
            Ancestor(
                taken["run"], version, str(taken["run_fingerprint"]), str(taken.get("content_digest", "")), taken.get("rows"),
                uri, there,
            )
        )  # fmt: skip
        if parent is None or not there or parent.uri in seen:
            break
        seen.add(parent.uri)
        here = parent
    return found


def recipes_of(run: RunFolder) -> list[Mapping[str, Any]]:
    """The recipe of the run, then those of the runs that its rows come from, as far as they can be read."""
    runs = [run, *(RunFolder(one.uri) for one in ancestors(run) if one.there)]
    return [one.record()["identity"].get("recipe") or {} for one in runs]


def source_uri(run: RunFolder) -> str:
    """The folder of the run that this run's config names as its source; "" where it names none."""
    try:
        source = (yaml.safe_load(run.config_yaml()) or {}).get("source") or {}
    except (yaml.YAMLError, AttributeError, OSError, UnicodeDecodeError):
        return ""
    if not isinstance(source, Mapping) or source.get("kind") != "run":
        return ""
    return str(source.get("uri") or "")


def _state(run: RunFolder, manifest: Manifest | None, commits: Sequence[Commit]) -> tuple[str, str]:
    if manifest is not None and manifest.content_digest == sum_digests(c.digest for c in commits):
        return manifest.status, manifest.status.replace("_", " ")
    try:
        listed = len(run.shards())
    except FileNotFoundError:
        listed = len(commits)
    if len(commits) < listed:
        return "running", f"running or interrupted: {len(commits):,} of {listed:,} shards"
    return "running", "all shards are there, the run is not closed (a retry, or an interrupted end)"


def _inputs(facts: Mapping[str, Any]) -> dict[str, str]:
    """The input's identity as short texts; what names a run is shown as lineage."""
    hidden = {"run", "run_fingerprint", "content_digest"} if "run_fingerprint" in facts else set()
    return {
        key: clip(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str), _INPUT_TEXT)
        for key, value in facts.items()
        if key not in hidden
    }


def _day(created: Any) -> str:
    if not isinstance(created, (int, float)):
        return ""
    return datetime.fromtimestamp(created, UTC).strftime("%Y-%m-%d %H:%M UTC")
