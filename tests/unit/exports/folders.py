"""Finished run folders for the tests: real commits and a real manifest, written through negscale.storage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from negscale.core.pipeline import Listing, Shard
from negscale.core.run import fingerprint, judge_budget
from negscale.core.runtime import RuntimeConfig
from negscale.core.schema import CAPTION, CAPTION_CHECK, ENVELOPE, NEGATED_CAPTION, PROPOSAL, VERIFICATION, extend
from negscale.executors.drive import summarize
from negscale.storage.parts import commit_shard
from negscale.storage.run_folder import RunFolder

SCHEMA = ENVELOPE
for _added in (CAPTION, PROPOSAL, VERIFICATION, NEGATED_CAPTION, CAPTION_CHECK):
    SCHEMA = extend(SCHEMA, _added)

STEPS = ("propose_absent_object", "verify_absent", "negate_caption", "check_negated_caption")
RECIPE = {
    "seed": 3,
    "source": {"kind": "coco", "split": "val2017", "files_sha256": "ab12"},
    "checks": [{"kind": "words"}],
}
CONFIG_YAML = (
    "# recipe: negationclip_p1\nseed: 3\nsource: {kind: coco, split: val2017, root: /data/private/coco, captions: ''}\n"
    "checks: [{kind: words, path: /data/list}]\nruntime: {run_root: s3://secret-bucket/runs}\n"
)


def row(row_id: str, image_id: str, caption_id: str, uri: str | None = "", **columns: Any) -> dict[str, Any]:
    """A kept row; columns override."""
    image = {
        "uri": f"val2017/{image_id}.jpg" if uri == "" else uri, "offset": None, "length": None, "sha256": b"\1" * 32,
        "height_px": 480, "width_px": 640,
    }  # fmt: skip
    made = {
        "id": row_id, "rejection": None, "quarantine": None, "image": image if uri is not None else None,
        "caption": f"a dog beside {row_id}", "image_captions": [f"a dog beside {row_id}", "a dog"], "image_id": image_id,
        "caption_id": caption_id, "absent_object": "cat", "proposal_score": 0.5, "presence_score": 0.125,
        "verifier_raw": "no", "negated_caption": f"a dog beside {row_id} without a cat", "negation_form": "without",
        "negation_position": "late",
    }  # fmt: skip
    return made | columns


def rejected(row_id: str, stage: str = "verify_absent", reason: str = "object_present") -> dict[str, Any]:
    """A row that `stage` refused."""
    return row(row_id, "1", "1", rejection={"stage": stage, "reason": reason}, negated_caption=None)


def broken(row_id: str) -> dict[str, Any]:
    """A row that broke."""
    fault = {"stage": "negate_caption", "kind": "unparsable", "message": "?", "retryable": True}
    return row(row_id, "1", "1", quarantine=fault, negated_caption=None)


def make_run(
    path: Path, shards: Sequence[Sequence[Mapping[str, Any]]], schema: pa.Schema = SCHEMA, finish: bool = True
) -> RunFolder:
    """A run folder whose shards hold these rows; without its manifest when not `finish`."""
    run = RunFolder(str(path))
    identity = {
        "pipeline": "negationclip/p1", "recipe": RECIPE, "steps": {f"{i}_{name}": {} for i, name in enumerate(STEPS)},
        "models": {}, "input": {"coco": "val2017", "captions_sha256": "cd34"},
    }  # fmt: skip
    names = [Shard(f"part-{number:03d}", len(rows)) for number, rows in enumerate(shards)]
    run.open("negationclip/p1", "dev", identity, CONFIG_YAML, Listing(tuple(names), identity["input"]))
    for shard, rows in zip(names, shards, strict=True):
        stages = {name: {"rows": len(rows), "seconds": 0.1} for name in STEPS}
        commit_shard(
            run.folder, shard.name, 0, pa.Table.from_pylist(list(rows), schema), rows_read=len(rows), stages=stages
        )
    if finish:
        finish_run(run, identity)
    return run


def finish_run(run: RunFolder, identity: Mapping[str, Any], budget: float = 0.05) -> None:
    """Write the manifest of what is committed."""
    backends = {"proposer": "vllm/meta-llama/Meta-Llama-3-8B-Instruct@5f0b02c", "verifier": "tiny/judge@1"}
    runtime = RuntimeConfig.model_validate({"quarantine_budget": budget})
    assert run.record()["fingerprint"] == fingerprint(identity)
    manifest = summarize(run, run.commits(), runtime, identity, backends, "0.1.0 abc", 1.0, 1)
    assert manifest.status == judge_budget(manifest.rows_quarantined, manifest.rows_read, budget)
    run.write_manifest(manifest)
