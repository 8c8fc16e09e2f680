"""Promise: a server that stalls, fails, hangs up and talks nonsense costs rows at most, never truth.

P1 on drawn scenes, with proposer, verifier and negater all behind one HTTP server in a process of its own. The server is
the tiny chat model, except for a large share of its answers. Every row must end in exactly one place, and nothing that was
said as nonsense may stand in a kept row: no caption, no object, and no absence that is not true of the scene.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from negscale.datasets.toy_icons import OBJECTS
from negscale.datasets.toy_scenes import scene
from negscale.storage.audit import audit
from negscale.storage.run_folder import RunFolder
from tests.acceptance.storm import REPO, cli
from tests.acceptance.verdict import verdict
from tests.unit.backends.chat_server import NONSENSE, TROUBLES, ServerProcess

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(1800)]

IMAGES, CAPTIONS = 160, 2
BAD_DAY = {
    "stall": 0.01, "http_429": 0.05, "http_500": 0.05, "cut_connection": 0.05, "broken_json": 0.05, "echo": 0.04,
    "length": 0.04, "filtered": 0.01, **dict.fromkeys(NONSENSE, 0.04),
}  # fmt: skip


def fragment(base_url: str) -> dict[str, Any]:
    """The config that a user writes for one server in three roles."""
    client = {"read_timeout_s": 3, "total_timeout_s": 120, "attempts": 10, "backoff_s": 0.02, "backoff_max_s": 0.5}
    chat = {"kind": "openai_chat", "model": "tiny", "revision": "1", "base_url": base_url, "client": client}
    return {
        "proposer": {"kind": "chat_proposer", "chat": chat},
        "verifier": {"kind": "chat_judge", "chat": {**chat, "images_per_prompt": 1}},
        "negater": {"kind": "chat_negater", "chat": chat},
        "runtime": {"executor": "local", "quarantine_budget": 1.0},
    }


def test_a_bad_server_costs_no_row_and_no_truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert set(BAD_DAY) == set(TROUBLES)
    server = ServerProcess(tmp_path, troubles=BAD_DAY, stall_s=5.0)
    try:
        config = tmp_path / "server.yaml"
        config.write_text(json.dumps(fragment(server.base_url)))  # JSON is YAML
        done = subprocess.run(
            cli(
                "generate", "negationclip_p1", "-c", str(config), f"source.images={IMAGES}",
                f"source.captions_per_image={CAPTIONS}", "source.shard_rows=64", f"runtime.run_root={tmp_path / 'runs'}",
                "--json",
            ),
            cwd=REPO, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        stats = server.stats()
    finally:
        server.close()
    run = RunFolder(json.loads(done.stdout)["run"])
    report = audit(run)
    rows = {
        kind: [r for _, t in run.tables(kind) for r in t.to_pylist()] for kind in ("data", "rejected", "quarantine")
    }
    ids = [row["id"] for found in rows.values() for row in found]
    kept = rows["data"]

    said = {text.strip() for text in stats["nonsense"] if text.strip()}
    untrue = [r["id"] for r in kept if r["absent_object"] in scene(0, int(r["image_id"].removeprefix("toy-"))).names]
    texts = {text.strip() for some in NONSENSE.values() for text in some if text.strip()}
    nonsense = [
        (caption, name) for caption, name in ((r["negated_caption"], r["absent_object"]) for r in kept)
        if caption.strip() in said or name not in OBJECTS or "the absence of" in caption.lower()
        or any(text in caption for text in texts)
    ]  # fmt: skip
    past_the_parser = [
        r["negated_caption"] for r in rows["rejected"] if (r["negated_caption"] or "").strip() in said - {""}
    ]
    faults: dict[str, int] = {}
    for row in rows["quarantine"]:
        faults[row["quarantine"]["kind"]] = faults.get(row["quarantine"]["kind"], 0) + 1
    total = sum(stats["counts"].values())
    print(f"\nserved: {json.dumps(stats['counts'])}\nquarantined: {faults}\nrefused by the check: {past_the_parser}")
    print(f"nonsense kept: {nonsense}")
    verdict(
        "a bad chat server costs no row and no truth",
        report.passed and len(ids) == len(set(ids)) == IMAGES * CAPTIONS and not nonsense and not untrue
        and all(stats["counts"].get(name, 0) > 0 for name in TROUBLES) and len(kept) > 0.3 * len(ids),
        rows=len(ids), kept=len(kept), rejected=len(rows["rejected"]), quarantined=len(rows["quarantine"]),
        requests=total, bad_answers=total - stats["counts"]["none"], nonsense_kept=len(nonsense), untrue_kept=len(untrue),
        nonsense_stopped_by_the_check=len(past_the_parser), problems=report.problems,
    )  # fmt: skip
