"""Find one row of a run, wherever it ended, with what its shard's commit says of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from negscale.core.arrow import compute as pc
from negscale.core.errors import PlanError
from negscale.storage.parts import KINDS, Commit, read_commit, read_part
from negscale.storage.run_folder import RunFolder


@dataclass(frozen=True, slots=True)
class RowStory:
    """Where a row ended and what it carried."""

    place: str  # data | rejected | quarantine
    row: Mapping[str, Any]
    commit: Commit
    relatives: tuple[str, ...]  # ids of siblings and children from an Explode, itself left out


def find_row(run: RunFolder, row_id: str) -> RowStory:
    """The story of row `row_id`. Raises PlanError when no committed shard holds it, with near ids."""
    root = row_id.partition("#")[0]
    near: list[str] = []
    for shard, generation in sorted(run.committed().items()):
        commit = read_commit(run.folder, shard, generation)
        parts = {kind: part for kind in KINDS if (part := read_part(run.folder, kind, commit)) is not None}
        for place, part in parts.items():
            at = pc.index(part["id"], row_id).as_py()
            if at >= 0:
                family = [i for p in parts.values() for i in _family(p, root) if i != row_id]
                return RowStory(place, part.slice(at, 1).to_pylist()[0], commit, tuple(sorted(family)))
        if len(near) < 5:
            near += [i for p in parts.values() for i in p["id"].slice(0, 2).to_pylist()]
    done, listed = len(run.committed()), len(run.shards())
    unfinished = f"; {listed - done} of {listed} shards are not finished yet" if done < listed else ""
    raise PlanError(f"no row {row_id!r} in {run.uri}{unfinished}. Ids look like {', '.join(near[:3]) or '(none yet)'}")


def _family(part: pa.Table, root: str) -> list[str]:
    mask = pc.or_(pc.equal(part["id"], root), pc.starts_with(part["id"], f"{root}#"))
    return part["id"].filter(mask).to_pylist()
