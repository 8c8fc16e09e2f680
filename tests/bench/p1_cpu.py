"""NegationCLIP P1 without any LLM on real COCO captions and annotations: Ray executor against a plain loop.

The loop is what one would write by hand with the same backends: propose, look the object up, realise, check, write JSON
lines. Both draw the same seeds, so their counts must agree. The rows are the 25,000 captions of COCO val2017 as NegBench
released them with the annotated objects of each image (no caption twice in the speed legs: the language package keeps
caches). The second half runs 1 x and 10 x as many rows and watches the memory of every process.
"""

from __future__ import annotations

import ast
import csv
import functools
import json
import math
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.bench.legs import REPO, Figures, LegError
from tests.bench.memory import watch_memory
from tests.bench.report import Bench, spread

CORPUS = "train2017"  # the proposer's statistics: other images than those of the run
CSV = Path("text", "COCO_val_retrieval.csv")
SHARD_ROWS = 256
FILE_ROWS = 4 * SHARD_ROWS
PEAKS = tuple(f"peak_{what}" for what in (
    "driver_mb", "workers_mb", "stage_worker_mb", "total_mb", "store_mb", "ray_mb", "workers",
))  # fmt: skip
FLAT = 1.05  # peak at 10 x over peak at 1 x


def measure(bench: Bench) -> None:
    """Interleaved speed legs, then memory at 1 x and 10 x."""
    data = Path(os.environ.get("NEGSCALE_SHARED_DATA", REPO.parent / "shared" / "data"))
    if not (data / CSV).is_file():
        raise LegError(f"no {data / CSV}; set NEGSCALE_SHARED_DATA")
    rows = FILE_ROWS * bench.by_size(1, 4, 12)
    repeats, one = bench.by_size(1, 3, 5), FILE_ROWS * bench.by_size(1, 10, 10)
    bench.baseline = "a plain Python loop over the same rows, backends and seeds, writing JSON lines (one process)"
    bench.config = {"rows": rows, "shard_rows": SHARD_ROWS, "memory_rows": [one, 10 * one]}
    loops, rays = [], []
    for repeat in range(repeats):
        loops.append(bench.leg(loop_leg, repeat=repeat, data=str(data), rows=rows))
        rays.append(bench.leg(ray_leg, repeat=repeat, data=str(data), rows=rows))
        if loops[-1]["counts"] != rays[-1]["counts"]:
            raise LegError(f"loop and Ray disagree: {loops[-1]['counts']} and {rays[-1]['counts']}")
    figures = {
        "loop_rows_s": spread([leg["rows_s"] for leg in loops]),
        "ray_rows_s_steady": spread([leg["rows_s_steady"] for leg in rays]),
        "ray_rows_s_wall": spread([leg["rows_s_wall"] for leg in rays]),
        "steady_over_loop": spread([r["rows_s_steady"] / p["rows_s"] for r, p in zip(rays, loops, strict=True)]),
        "wall_over_loop": spread([r["rows_s_wall"] / p["rows_s"] for r, p in zip(rays, loops, strict=True)]),
        "ray_start_s": spread([leg["start_s"] for leg in rays]), "counts": rays[0]["counts"],
    }  # fmt: skip
    bench.figures["speed"] = figures
    for name, value in figures.items():
        if name != "counts":
            bench.row(name, f"{value['median']:.3g} (min {value['min']:.3g}, max {value['max']:.3g})")
    bench.row("counts", json.dumps(figures["counts"]))
    _memory(bench, str(data), one)


def _memory(bench: Bench, data: str, one: int) -> None:
    small = bench.leg(ray_leg, watch=watch_memory, data=data, rows=one, sampled=True)
    large = bench.leg(ray_leg, watch=watch_memory, data=data, rows=10 * one, sampled=True)
    memory: Figures = {}
    for name in (*PEAKS, "spilled_mb"):
        ratio = large[name] / small[name] if small[name] else None
        memory[name] = {"1x": small[name], "10x": large[name], "ratio": ratio}
        bench.row(name, f"1x {small[name]:.1f}, 10x {large[name]:.1f}" + (f", ratio {ratio:.3f}" if ratio else ""))
    memory["growth_within_10x"] = _growth(large["memory_samples"])
    bench.row("growth within 10x", f"{memory['growth_within_10x']:.3f} (last third over middle third of the run)")
    bench.figures["memory"] = memory
    shards = 9 * one / SHARD_ROWS  # that 10x has more than 1x
    memory["driver_kb_a_shard"] = 1000 * (large["peak_driver_mb"] - small["peak_driver_mb"]) / shards
    bench.row(
        "driver, growth a shard", f"{memory['driver_kb_a_shard']:.1f} kB (Ray Data keeps statistics of each block)"
    )
    for name in ("peak_total_mb", "peak_workers_mb"):
        bench.target(f"{name}, 10x rows over 1x", memory[name]["ratio"], FLAT, "at_most")
    bench.target(
        "memory in the last third of the 10x run over the middle third", memory["growth_within_10x"], FLAT, "at_most"
    )


def _growth(samples: list[Figures]) -> float:
    """Mean total of the last third over that of the middle third, start-up and end left out."""
    totals = [sample["total_mb"] for sample in samples]
    third = len(totals) // 3
    middle, last = totals[third : 2 * third], totals[2 * third : -2]
    return (sum(last) / len(last)) / (sum(middle) / len(middle)) if middle and last else 1.0


def _captions(data: Path) -> Iterator[tuple[int, list[str], list[str]]]:
    """(image number, captions, annotated objects: [""] for none) of NegBench's COCO file; its lists are Python literals."""
    with (data / CSV).open(newline="") as file:
        for row in csv.DictReader(file):
            yield int(row["image_id"]), ast.literal_eval(row["captions"]), ast.literal_eval(row["positive_objects"])


def _inputs(data: Path, rows: int, work: Path) -> None:
    """captions/*.parquet with the first `rows` captions, and instances.json with the objects of every image."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from negscale.language.nouns import COCO_80

    number = {name: n for n, name in enumerate(COCO_80)}
    listed: list[dict[str, Any]] = []
    images, notes = [], []
    for image, captions, objects in _captions(data):
        images.append({"id": image, "file_name": f"{image:012d}.jpg"})
        notes += [
            {"id": len(notes) + k, "image_id": image, "category_id": number[o]} for k, o in enumerate(objects) if o
        ]
        said = [" ".join(text.split()) for text in captions]
        listed += [{"image": f"val2017/{image:012d}.jpg", "caption": text, "said": said} for text in said]
    listed *= math.ceil(rows / len(listed))  # more rows than captions: the same ones again, as rows of their own
    categories = [{"id": n, "name": name} for name, n in number.items()]
    (work / "instances.json").write_text(json.dumps({"images": images, "annotations": notes, "categories": categories}))
    (work / "captions").mkdir()
    for at in range(0, rows, FILE_ROWS):
        pq.write_table(
            pa.Table.from_pylist(listed[at : min(at + FILE_ROWS, rows)]), work / "captions" / f"{at:07d}.parquet"
        )


def _config(data: str, rows: int, work: str) -> Any:
    """P1's config over the inputs, its statistics fitted on the other split."""
    from negscale.backends.annotation_judge import AnnotationJudgeConfig
    from negscale.backends.cooccurrence import CooccurrenceConfig
    from negscale.backends.corpora import CorpusConfig
    from negscale.backends.realiser import RealiserConfig
    from negscale.core.runtime import RuntimeConfig
    from negscale.datasets.image_text import ParquetConfig
    from negscale.pipelines.negationclip import P1, P1Config

    _inputs(Path(data), rows, Path(work))
    notes = Path(data, "coco", "annotations")
    corpora = tuple(
        CorpusConfig(kind=kind, path=str(notes / f"{name}_{CORPUS}.json"))
        for kind, name in (("coco_captions", "captions"), ("coco_instances", "instances"))
    )
    config = P1Config(
        source=ParquetConfig(root=f"{work}/captions", image_captions_column="said", shard_rows=SHARD_ROWS),
        proposer=CooccurrenceConfig(corpora=corpora),
        verifier=AnnotationJudgeConfig(annotations=f"{work}/instances.json"), negater=RealiserConfig(),
        runtime=RuntimeConfig(run_root=work, version="bench", quarantine_budget=1.0),
    )  # fmt: skip
    return P1.prepare(config, config.source.build().list())


def ray_leg(data: str, rows: int, work: str, sampled: bool = False) -> Figures:
    """The Ray executor on the machine's cores, from an empty folder to the manifest."""
    import ray

    from negscale.executors.drive import generate
    from negscale.executors.ray_data import RayDataExecutor
    from negscale.pipelines.negationclip import p1
    from tests.bench.memory import StoreSampler
    from tests.bench.simulated import parts_by_time, spec_of, steady_rate

    config = _config(data, rows, work)
    build = functools.partial(p1, config)
    spec = spec_of(build, work)
    ray.init(
        address="local", include_dashboard=False, log_to_driver=False, logging_level="ERROR",
        object_store_memory=300 << 20,
    )  # fmt: skip
    store = StoreSampler() if sampled else None
    began = time.time()
    manifest = generate(spec, RayDataExecutor(), spec.pipeline.source.list())
    wall_s = time.time() - began
    more = store.figures() if store else {}
    ray.shutdown()
    parts = parts_by_time(f"{spec.uri}/data", SHARD_ROWS)  # every shard read has as many
    return {
        "rows_s_wall": rows / wall_s, "rows_s_steady": steady_rate(parts), "wall_s": wall_s, "start_s": parts[0][0] - began,
        "counts": {"kept": manifest.rows_kept, **manifest.rejected, **manifest.quarantined}, "stages": manifest.stages, **more,
    }  # fmt: skip


def loop_leg(data: str, rows: int, work: str) -> Figures:
    """The plain loop."""
    from negscale.core.backend import NegationRequest, Picture, ProposalRequest
    from negscale.core.rng import seed_for
    from negscale.core.stage import Fault
    from negscale.language.check import check_negated_caption
    from negscale.language.nouns import mentions

    config = _config(data, rows, work)
    source = config.source.build()
    proposer, judge, negater = config.proposer.build(), config.verifier.build(), config.negater.build()
    began = time.time()
    for backend in (proposer, judge, negater):
        backend.load()
    options, counts = config.check.options(), Counter[str]()
    with Path(work, "out.jsonl").open("w") as out:
        for shard in source.list().shards:
            for row in source.read(shard, None).to_pylist():
                caption, said = row["caption"], tuple(row["image_captions"])

                def seed(stage: str, row_id: str = row["id"]) -> int:
                    return seed_for(config.seed, row_id, stage, 0)

                request = ProposalRequest(caption, said, config.strategy, seed("propose_absent_object"))
                (proposed,) = proposer.propose([request])
                if isinstance(proposed, Fault):
                    counts[f"propose_absent_object/{proposed.kind}"] += 1
                    continue
                free = (p for p in proposed if not any(mentions(text, p.object) for text in {caption, *said}))
                absent = next(free).object
                (found,) = judge.judge([Picture(None, row["image_id"], seed("verify_absent"))], [absent])
                if isinstance(found, Fault) or found.accept:
                    counts[f"verify_absent/{found.kind if isinstance(found, Fault) else 'object_present'}"] += 1
                    continue
                (written,) = negater.negate([NegationRequest(caption, absent, seed("negate_caption"))])
                if isinstance(written, Fault):
                    counts[f"negate_caption/{written.kind}"] += 1
                    continue
                others = [text for text in said if text != caption]
                checked = check_negated_caption(caption, written, absent, others, options=options)
                if not checked.accepted:
                    counts[f"check_negated_caption/{checked.reason}"] += 1
                    continue
                counts["kept"] += 1
                out.write(json.dumps({"id": row["id"], "absent_object": absent, "negated_caption": written}) + "\n")
    wall_s = time.time() - began
    return {"rows_s": rows / wall_s, "wall_s": wall_s, "counts": dict(counts)}
