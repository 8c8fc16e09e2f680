"""The vLLM backend with the tiny trained models: our stage against ray.data.llm, and P1 against loops over transformers.

ray.data.llm gets the same model, engine settings, conversations, seeds and sampling, one engine each, on a cluster of
eight logical CPUs. The start of the engine is left out on both sides by counting rows from 20 % to 90 % of the run, by
the time at which they arrive; it is printed beside. The engine idles while no call of the stage is running.

The loop is what NegationCLIP's released script does: for each row ask, look, rewrite, one `transformers.generate` at a
time; the batched loop does that with 16 rows. Both stop at the first answer and write nothing, ours asks again where an
answer does not parse, checks the caption and commits.
"""

from __future__ import annotations

import functools
import importlib.util
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from negscale.core.pipeline import Listing, Pipeline, Shard
from negscale.core.stage import Outcome, Row
from negscale.stages.captions import NegateCaption
from tests.bench.legs import REPO, Figures, LegError, NotHereError
from tests.bench.report import Bench, spread
from tests.bench.simulated import events, parts_by_time, spec_of, steady_rate

CPUS = 8  # logical: ray.data.llm holds one for each of its stages
SHARD_ROWS = 64
BATCH = 16


def measure(bench: Bench) -> None:
    """Interleaved legs."""
    if importlib.util.find_spec("vllm") is None:
        raise NotHereError('vLLM is not installed; pip install "negscale[cpu]" with an override of torch==2.13.0')
    rows, repeats = bench.by_size(640, 2560, 5120), bench.by_size(1, 2, 5)
    few, batched = bench.by_size(16, 48, 96), bench.by_size(64, 256, 512)
    images = bench.by_size(256, 640, 1280)
    bench.baseline = "ray.data.llm's vLLM processor, same model and prompts; loops over transformers.generate"
    bench.config = {
        "rows": rows,
        "shard_rows": SHARD_ROWS,
        "loop_rows": few,
        "batched_rows": batched,
        "p1_images": images,
    }
    ours, theirs = [], []
    for repeat in range(repeats):
        ours.append(bench.leg(stage_leg, repeat=repeat, rows=rows))
        theirs.append(bench.leg(ray_llm_leg, repeat=repeat, rows=rows))
    one = [bench.leg(loop_leg, repeat=k, rows=few, batch=1) for k in range(repeats)]
    sixteen = [bench.leg(loop_leg, repeat=k, rows=batched, batch=BATCH) for k in range(repeats)]
    p1 = [bench.leg(p1_leg, repeat=k, images=images) for k in range(repeats)]

    def ratio(legs: Sequence[Figures], bases: Sequence[Figures]) -> Figures:
        return spread([a["rows_s"] / b["rows_s"] for a, b in zip(legs, bases, strict=True)])

    bench.figures = {
        "stage_rows_s": spread([leg["rows_s"] for leg in ours]), "ray_llm_rows_s": spread([leg["rows_s"] for leg in theirs]),
        "stage_start_s": spread([leg["start_s"] for leg in ours]),
        "ray_llm_start_s": spread([leg["start_s"] for leg in theirs]),
        "stage_over_ray_llm": ratio(ours, theirs), "engine_idle": spread([leg["idle"] for leg in ours]),
        "loop_rows_s": spread([leg["rows_s"] for leg in one]), "batched_rows_s": spread([leg["rows_s"] for leg in sixteen]),
        "p1_rows_s": spread([leg["rows_s"] for leg in p1]), "p1_over_loop": ratio(p1, one),
        "p1_over_batched": ratio(p1, sixteen),
    }  # fmt: skip
    for name, value in bench.figures.items():
        bench.row(name, f"{value['median']:.3g} (min {value['min']:.3g}, max {value['max']:.3g})")
    median = {name: value["median"] for name, value in bench.figures.items()}
    bench.target("rows/s of our stage over ray.data.llm's", median["stage_over_ray_llm"], 1.0, "at_least")
    bench.target("share of the time in which the engine idles", median["engine_idle"], 0.05, "at_most")
    bench.target("rows/s of P1 over one prompt at a time", median["p1_over_loop"], 10.0, "at_least")
    bench.target(f"rows/s of P1 over batches of {BATCH}", median["p1_over_batched"], 1.5, "at_least")


def _p1_config(*overrides: str) -> Any:
    from negscale.app import load_config

    return load_config("negationclip_p1", [str(REPO / "configs/backends/tiny_vllm.yaml")], overrides)[1]


def _rows(first: int, count: int) -> list[Row]:
    """Captions of drawn scenes, each with an object that it does not mention."""
    from negscale.backends.tiny.chat import likely_object
    from negscale.core.rng import rng_for
    from negscale.datasets.toy_scenes import captions, scene

    rows = []
    for number in range(first, first + count):
        (text,) = captions(scene(0, number), 0, number, 1)
        rows.append({
            "id": f"{number:08d}", "caption": text, "absent_object": likely_object(text, rng_for(0, "bench", number)),
            "image_captions": [text],
        })  # fmt: skip
    return rows


class NegationSource:
    """The rows of `_rows`, in shards of SHARD_ROWS."""

    schema = pa.schema([
        ("caption", pa.string()), ("absent_object", pa.string()), ("image_captions", pa.list_(pa.string()))
    ])  # fmt: skip

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def list(self) -> Listing:
        starts = range(0, self.rows, SHARD_ROWS)
        shards = tuple(Shard(f"n{at:08d}", min(SHARD_ROWS, self.rows - at), str(at)) for at in starts)
        return Listing(shards, {"rows": self.rows})

    def read(self, shard: Shard, index: pa.Table | None) -> pa.Table:
        return pa.Table.from_pylist(_rows(int(shard.where), shard.rows), pa.schema([("id", pa.string()), *self.schema]))


class NotedNegateCaption(NegateCaption):
    """Notes when each of its calls ran."""

    def __init__(self, *arguments: Any, log: str) -> None:
        super().__init__(*arguments)
        self._log = log

    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        import threading

        began = time.time()
        outcomes = super().process(rows)
        with Path(self._log, f"negate.{threading.get_ident()}.log").open("a") as file:
            file.write(f"{began:.4f} {time.time():.4f} {len(rows)}\n")
        return outcomes


def _pipeline(config: Any, rows: int, log: str) -> Pipeline:
    from negscale.backends.config import resources_of

    resources = replace(resources_of(config.negater), actors=1)  # one engine, as the baseline has
    stage = NotedNegateCaption(config.negater.build, 0, 1, resources, log=log)
    return Pipeline("bench/vllm", NegationSource(rows), (stage,))


def stage_leg(rows: int, work: str) -> Figures:
    """Our stage under the Ray executor."""
    from negscale.executors.drive import generate
    from negscale.executors.ray_data import RayDataExecutor

    build = functools.partial(_pipeline, _p1_config(), rows, work)
    spec = spec_of(build, work, ray_cpus=CPUS, quarantine_budget=1.0)
    began = time.time()
    manifest = generate(spec, RayDataExecutor(), spec.pipeline.source.list())
    parts = parts_by_time(f"{spec.uri}/data", SHARD_ROWS)
    calls = events(work, "negate")
    return {
        "rows_s": steady_rate(parts), "start_s": min(call[0] for call in calls) - began, "wall_s": time.time() - began,
        "idle": _idle(calls), "kept": manifest.rows_kept,
    }  # fmt: skip


def _idle(calls: Sequence[tuple[float, float, int]]) -> float:
    """Share of the time between the first call and the last in which none ran."""
    calls = sorted(calls)
    idle, until = 0.0, calls[0][1]
    for begin, end, _ in calls:
        idle += max(0.0, begin - until)
        until = max(until, end)
    return idle / (until - calls[0][0])


def ray_llm_leg(rows: int, work: str) -> Figures:
    """ray.data.llm's processor on the same conversations; rows are counted as they arrive at the driver."""
    import ray
    from ray.data.llm import build_processor, vLLMEngineProcessorConfig

    from negscale.backends.vllm import VllmChat
    from negscale.core.rng import seed_for

    chat = _p1_config().negater.chat
    engine = VllmChat(chat)._arguments()
    model = engine.pop("model")
    sampling = {
        "temperature": chat.sampling.temperature,
        "top_p": chat.sampling.top_p,
        "max_tokens": chat.sampling.max_new_tokens,
    }
    conversations = _conversations(_rows(0, rows))

    def ask(row: dict[str, Any]) -> dict[str, Any]:
        seed = seed_for(0, row["id"], "negate_caption", 0)
        return {"messages": list(row["messages"]), "sampling_params": {**sampling, "seed": seed}, "id": row["id"]}

    def answer(row: dict[str, Any]) -> dict[str, Any]:
        return {"id": row["id"], "negated_caption": row["generated_text"]}

    ray.init(address="local", num_cpus=CPUS, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    processor = build_processor(
        vLLMEngineProcessorConfig(
            model_source=model, engine_kwargs={k: v for k, v in engine.items() if v is not None}, concurrency=1,
            batch_size=SHARD_ROWS, log_engine_metrics=False, placement_group_config={"bundles": [{"CPU": 1}]},
        ),
        preprocess=ask, postprocess=answer,
    )  # fmt: skip
    data = ray.data.from_items(conversations, override_num_blocks=max(1, rows // SHARD_ROWS))
    began = time.time()
    batches = processor(data).iter_batches(batch_size=None, prefetch_batches=0, batch_format="pyarrow")
    arrived = [(time.time(), len(batch)) for batch in batches]
    ray.shutdown()
    if (count := sum(number for _, number in arrived)) != rows:
        raise LegError(f"ray.data.llm gave {count} of {rows} rows")
    return {"rows_s": steady_rate(arrived), "start_s": arrived[0][0] - began, "wall_s": time.time() - began}


def _conversations(rows: Sequence[Row]) -> list[dict[str, Any]]:
    from negscale.backends.chat_roles import ChatNegater
    from negscale.backends.vllm_prompt import messages_of
    from negscale.core.backend import ChatRequest, NegationRequest, Reply

    asked: list[ChatRequest] = []

    class Listener:
        id, exact, accepts_images = "listener", True, False

        def load(self) -> None: ...

        def close(self) -> None: ...

        def generate(self, requests: Sequence[ChatRequest]) -> list[Any]:
            asked.extend(requests)
            return [Reply("a", "stop", 0, 0)] * len(requests)

    ChatNegater(Listener()).negate([NegationRequest(row["caption"], row["absent_object"]) for row in rows])
    return [{"id": row["id"], "messages": messages_of(request)} for row, request in zip(rows, asked, strict=True)]


def loop_leg(rows: int, batch: int, work: str) -> Figures:
    """P1 over transformers, `batch` rows at a time; the models are loaded before the clock starts."""
    from negscale.backends.chat_roles import ChatJudge, ChatNegater, ChatProposer
    from negscale.core.backend import NegationRequest, Picture, ProposalRequest
    from negscale.core.stage import Fault
    from negscale.datasets.toy_scenes import draw, scene
    from negscale.tiny_models.answering import TransformersChat
    from negscale.tiny_models.files import folder_of

    text = TransformersChat(folder_of("text"), temperature=0.7, batch=batch)
    vision = TransformersChat(folder_of("vision"), accepts_images=True, batch=batch, max_new_tokens=4)
    for model in (text, vision):
        model.load()
    proposer, judge, negater = ChatProposer(text), ChatJudge(vision), ChatNegater(text)
    todo, kept = _rows(0, rows), 0
    began = time.time()
    for at in range(0, rows, batch):
        some = todo[at : at + batch]
        proposed = proposer.propose([ProposalRequest(r["caption"], (r["caption"],), "contextual") for r in some])
        named = [(r, p[0].object) for r, p in zip(some, proposed, strict=True) if not isinstance(p, Fault)]
        seen = judge.judge(
            [Picture(draw(scene(0, int(r["id"]))), r["id"]) for r, _ in named], [name for _, name in named]
        )
        open_ = [
            pair for pair, found in zip(named, seen, strict=True) if not isinstance(found, Fault) and not found.accept
        ]
        kept += len(negater.negate([NegationRequest(r["caption"], name) for r, name in open_]))
    wall_s = time.time() - began
    return {"rows_s": rows / wall_s, "wall_s": wall_s, "kept": kept}


def p1_leg(images: int, work: str) -> Figures:
    """P1 as shipped, three engines, under the Ray executor; rows from 20 % to 90 % of the run."""
    from negscale.executors.drive import generate
    from negscale.executors.ray_data import RayDataExecutor
    from negscale.pipelines.negationclip import p1

    names = ("propose_absent_object", "verify_absent", "negate_caption")
    overrides = [
        f"source.images={images}", "source.captions_per_image=1", f"source.shard_rows={SHARD_ROWS}",
        f"runtime.ray_cpus={CPUS}", *(f"runtime.actors.{name}=1" for name in names),
    ]  # fmt: skip
    config = _p1_config(*overrides)
    spec = spec_of(functools.partial(p1, config), work, ray_cpus=CPUS, quarantine_budget=1.0)
    began = time.time()
    manifest = generate(spec, RayDataExecutor(), spec.pipeline.source.list())
    parts = parts_by_time(f"{spec.uri}/data", SHARD_ROWS)  # as many rows were read for each
    return {
        "rows_s": steady_rate(parts), "start_s": parts[0][0] - began, "wall_s": time.time() - began,
        "kept": manifest.rows_kept,
    }  # fmt: skip
