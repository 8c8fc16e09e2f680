"""What a run is: its identity, its fingerprint, its manifest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Literal

from negscale.core.errors import ConfigError
from negscale.core.explode import Explode
from negscale.core.pipeline import Listing, Pipeline

Status = Literal["running", "complete", "over_budget"]
BUDGET_FROM_ROWS = 1000  # a share over fewer rows says little


def identity_of(pipeline: Pipeline, recipe: Mapping[str, Any], listing: Listing) -> dict[str, Any]:
    """Everything that bears on the output, as JSON values: recipe, steps with prompts and versions, input, models."""
    steps: dict[str, Any] = {}
    for number, step in enumerate(pipeline.steps):
        facts = (
            {"column": step.column, "into": step.into}
            if isinstance(step, Explode)
            else {"version": step.version, **step.identity()}
        )
        steps[f"{number}_{step.name}"] = facts
    return {
        "pipeline": pipeline.name,
        "recipe": dict(recipe),
        "steps": steps,
        "models": dict(pipeline.facts),
        "input": dict(listing.identity),
    }


def fingerprint(identity: Mapping[str, Any]) -> str:
    """16 hex digits over the canonical JSON of an identity. Values that have no canonical form are refused."""
    try:
        text = json.dumps(identity, sort_keys=True, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"the run's identity cannot be hashed alike twice: {error}") from error
    return blake2b(text.encode(), digest_size=8).hexdigest()


def first_difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[str, Any, Any] | None:
    """(dotted key, old value, new value) of the first key that differs, in sorted order; None when all are equal."""
    before, after = _flatten(old), _flatten(new)
    for key in sorted(before.keys() | after.keys()):
        if before.get(key) != after.get(key):
            return key, before.get(key), after.get(key)
    return None


def _flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping) and value:
        flat: dict[str, Any] = {}
        for key, inner in value.items():
            flat |= _flatten(inner, f"{prefix}.{key}" if prefix else str(key))
        return flat
    return {prefix: value}


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The record of a finished run, written last: its existence means that every shard is committed."""

    name: str
    version: str
    status: Status
    fingerprint: str
    content_digest: str  # order-independent sum of row hashes
    rows_read: int
    rows_added: int  # by Explode
    rows_kept: int
    rows_rejected: int
    rows_quarantined: int
    shards: int
    rejected: dict[str, int] = field(default_factory=dict)  # "verify_absent/object_present": 21034
    quarantined: dict[str, int] = field(default_factory=dict)  # "negate_caption/unparsable": 12
    backends: dict[str, str] = field(default_factory=dict)  # role -> Backend.id with revision
    inputs: dict[str, Any] = field(default_factory=dict)  # the source's listing identity
    recipe: dict[str, Any] = field(default_factory=dict)
    runtime: dict[str, Any] = field(default_factory=dict)
    stages: dict[str, dict[str, float]] = field(default_factory=dict)  # stage -> rows, worker seconds
    code: str = ""  # version and commit, "+dirty" when the tree was
    seconds: float = 0.0  # over all incarnations of the driver
    incarnations: int = 1
    reviews: dict[str, Any] = field(
        default_factory=dict
    )  # figures of people's checks, added after the run; see review/


def judge_budget(quarantined: int, rows: int, budget: float) -> Status:
    """`over_budget` when more than `budget` (a share) of at least 1,000 rows are quarantined."""
    return "over_budget" if rows >= BUDGET_FROM_ROWS and quarantined > budget * rows else "complete"
