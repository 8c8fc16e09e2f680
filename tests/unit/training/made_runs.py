"""Small finished runs to train on, written as the executors write them; a child process per worker for gloo tests."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pyarrow as pa

from negscale.core.pipeline import Listing, Shard
from negscale.core.run import Manifest, fingerprint
from negscale.core.schema import CAPTION, ENVELOPE, MCQ, NEGATED_CAPTION, PROPOSAL, extend
from negscale.datasets.captions import image_ref
from negscale.datasets.toy_icons import OBJECTS
from negscale.datasets.toy_scenes import SCENE_PX, captions, scene
from negscale.storage.parts import commit_shard, sum_digests
from negscale.storage.run_folder import RunFolder

CAPTIONS = extend(extend(extend(ENVELOPE, CAPTION), PROPOSAL), NEGATED_CAPTION)
QUESTIONS = extend(extend(ENVELOPE, pa.schema([CAPTION.field("image"), CAPTION.field("image_id")])), MCQ)


def caption_run(folder: Path | str, rows_of_shards: tuple[int, ...] = (7, 11, 5, 9), world: int = 3) -> str:
    """Drawn scenes with two captions each and what they lack."""
    number, tables = 0, []
    for rows in rows_of_shards:
        made = [caption_row(world, number + k) for k in range(rows)]
        number += rows
        tables.append(pa.Table.from_pylist(made, CAPTIONS))
    return finished_run(folder, "negationclip/p1", tables)


def question_run(folder: Path | str, rows: int = 24, world: int = 3) -> str:
    """Four options on each scene, one of them true."""
    made = []
    for k in range(rows):
        what = scene(world, k)
        here = sorted({placed.name for placed in what.objects})
        gone = next(o for o in OBJECTS if o not in here)
        texts = [f"there is a {gone}", f"there is no {gone}", f"there is no {here[0]}", f"a {gone} and a {here[0]}"]
        turned = texts[-(k % 4) :] + texts[: -(k % 4)] if k % 4 else texts
        made.append({
            "id": f"q-{k:04d}", "image": _ref(world, k), "image_id": f"toy-{k:08d}", "options": turned,
            "answer": turned.index(texts[1]), "question_type": "negative",
        })  # fmt: skip
    return finished_run(folder, "negbench/negmcq", [pa.Table.from_pylist(made, QUESTIONS)])


def finished_run(folder: Path | str, name: str, tables: list[pa.Table]) -> str:
    """A complete run with one shard a table."""
    run = RunFolder(str(folder))
    shards = tuple(Shard(f"s{number:04d}", len(table)) for number, table in enumerate(tables))
    identity = {"pipeline": name, "rows": [len(table) for table in tables]}
    run.open(name, "v", identity, "{}\n", Listing(shards, {}))
    commits = [
        commit_shard(run.folder, shard.name, 0, table, rows_read=len(table))[0]
        for shard, table in zip(shards, tables, strict=True)
    ]
    run.write_manifest(Manifest(
        name=name, version="v", status="complete", fingerprint=fingerprint(identity),
        content_digest=sum_digests(c.digest for c in commits), rows_read=sum(map(len, tables)), rows_added=0,
        rows_kept=sum(c.kept for c in commits), rows_rejected=0, rows_quarantined=0, shards=len(commits),
    ))  # fmt: skip
    return run.uri


def caption_row(world: int, number: int) -> dict[str, Any]:
    """Row `number` of a run of captions: two of each scene."""
    image, k = divmod(number, 2)
    what = scene(world, image)
    here = {placed.name for placed in what.objects}
    gone = [o for o in OBJECTS if o not in here][number % 5]
    said = captions(what, world, image, 2)
    return {
        "id": f"toy-{image:08d}-{k}", "image": _ref(world, image), "caption": said[k], "image_captions": said,
        "image_id": f"toy-{image:08d}", "caption_id": str(k), "absent_object": gone, "proposal_score": 0.0,
        "negated_caption": f"{said[k].rstrip('.')} with no {gone}",
    }  # fmt: skip


def _ref(world: int, image: int) -> dict[str, Any]:
    return image_ref(f"toyworld:{world}/{image}", height_px=SCENE_PX, width_px=SCENE_PX)


def run_workers(size: int, code: str, *arguments: str, limit_s: float = 240) -> None:
    """Run `code` in `size` processes with gloo between them; `rank`, `size` and `arguments` are there. Fails as they do."""
    head = """
        import os, sys
        from datetime import timedelta
        import torch, torch.distributed as dist
        torch.set_num_threads(1)
        rank, size, arguments = int(sys.argv[1]), int(sys.argv[2]), sys.argv[4:]
        store = dist.FileStore(sys.argv[3], size)
        dist.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=timedelta(seconds=120))
    """
    program = textwrap.dedent(head) + textwrap.dedent(code) + "\ndist.destroy_process_group()\n"
    meeting = Path(arguments[0]) / f"meeting-{size}-{abs(hash(code)) % 10**8}-{os.getpid()}"
    meeting.unlink(missing_ok=True)
    # interfaces other than loopback may be missing where tests run
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(rank), str(size), str(meeting), *arguments],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=Path(__file__).parents[3],
        )
        for rank in range(size)
    ]  # fmt: skip
    try:
        said = [worker.communicate(timeout=limit_s)[0] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()  # one that waits for a dead one would stay
        meeting.unlink(missing_ok=True)
    assert all(worker.returncode == 0 for worker in workers), "\n---\n".join(said)
