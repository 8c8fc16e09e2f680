"""Text-encoder training: samples/s against a loop as released, a step against a bare loop, and the reader alone.

The released loop (NegationCLIP's `clip_finetune.py`) decodes and encodes every image at every step and computes each text
to 77 tokens; ours reads image vectors that were made once and cuts texts at the longest of the batch. All loops start from
the same random ViT-B/32, take the same rows in the same order, and must report the same losses. The bare loop has
everything ready in memory and nothing but the model's own calls.
"""

from __future__ import annotations

import importlib.util
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench.legs import Figures, LegError
from tests.bench.report import Bench, spread

SIDE_PX = (480, 640)
RATE = 1e-5
LOSS_GAP = 1e-5
SPEED_TARGET, STEP_LIMIT, READER_TARGET = 10.0, 1.05, 1.0
WIDTH = 512


def measure(bench: Bench) -> None:
    """Interleaved legs of the three loops, then the three readers."""
    rows, batch, repeats = bench.by_size(32, 256, 512), bench.by_size(16, 128, 128), bench.by_size(1, 3, 3)
    reader_rows = bench.by_size(20_000, 200_000, 1_000_000)
    bench.baseline = "NegationCLIP's released loop: images decoded and encoded at every step, texts of 77 tokens"
    bench.config = {
        "rows": rows,
        "batch": batch,
        "epochs": 2,
        "model": "ViT-B/32, random weights",
        "reader_rows": reader_rows,
    }
    place = (bench.out / "training").resolve()
    if not (place / f"rows-{rows}" / "manifest.json").exists():
        bench.leg(prepare_leg, place=str(place), rows=rows)
    found: dict[str, list[Figures]] = {"released": [], "bare": [], "ours": []}
    legs = {"ours": ours_leg, "released": released_leg, "bare": bare_leg}
    for repeat in range(repeats):
        for name, leg in legs.items():
            found[name].append(bench.leg(leg, repeat=repeat, timeout_s=5000, place=str(place), rows=rows, batch=batch))
        _same_losses({name: runs[-1]["losses"] for name, runs in found.items()})
    for name, runs in found.items():
        speed = spread([run["samples_s"] for run in runs])
        bench.figures[f"{name}_samples_s"] = speed
        bench.row(f"{name}, second epoch", f"{speed['median']:.3g} samples/s ({runs[-1]['tokens']} tokens a text)")
    pairs = zip(found["ours"], found["released"], found["bare"], strict=True)
    ratios = [
        (ours["samples_s"] / released["samples_s"], bare["samples_s"] / ours["samples_s"])
        for ours, released, bare in pairs
    ]
    bench.figures["over_released"] = spread([ratio for ratio, _ in ratios])
    bench.figures["step_over_bare"] = spread([ratio for _, ratio in ratios])
    bench.figures["first_epoch_embedding_s"] = spread([run["embedding_s"] for run in found["ours"]])
    bench.target("samples/s over the released loop", bench.figures["over_released"]["median"], SPEED_TARGET, "at_least")
    bench.target("our step over a bare loop", bench.figures["step_over_bare"]["median"], STEP_LIMIT, "at_most")
    _readers(bench, place, reader_rows, repeats)


def _same_losses(losses: dict[str, list[float]]) -> None:
    for name, values in losses.items():
        gap = max(abs(a - b) for a, b in zip(values, losses["bare"], strict=True))
        if gap > LOSS_GAP:
            raise LegError(f"the losses of {name} and the bare loop differ by {gap:.2g}: {losses}")


def _readers(bench: Bench, place: Path, rows: int, repeats: int) -> None:
    if not (place / f"reader-{rows}" / "done").exists():
        bench.leg(prepare_reader_leg, place=str(place), rows=rows)
    legs = {"negscale": reader_leg, "ray_data": ray_data_leg}
    if importlib.util.find_spec("webdataset") is not None:
        legs["webdataset"] = webdataset_leg
    else:
        bench.row("reader, webdataset", "not installed: left out")
    found: dict[str, list[float]] = {name: [] for name in legs}
    for repeat in range(repeats):
        for name, leg in legs.items():
            found[name].append(bench.leg(leg, repeat=repeat, place=str(place), rows=rows)["samples_s"])
    for name, values in found.items():
        bench.figures[f"reader_{name}_samples_s"] = spread(values)
        bench.row(f"reader, {name}", f"{bench.figures[f'reader_{name}_samples_s']['median']:,.0f} samples/s")
    others = [values for name, values in found.items() if name != "negscale"]
    ratio = spread([ours / max(best) for ours, *best in zip(found["negscale"], *others, strict=True)])
    bench.figures["reader_over_best"] = ratio
    bench.target("reader over the best of WebDataset and ray.data", ratio["median"], READER_TARGET, "at_least")


# -- the three loops ------------------------------------------------------------------------------------------------------


def prepare_leg(place: str, rows: int, work: str) -> Figures:
    """Photograph-sized JPEGs of drawn scenes, a finished run of their captions, and the random ViT-B/32."""
    import open_clip
    import pyarrow as pa
    import torch
    from PIL import Image

    from negscale.datasets.captions import image_ref
    from negscale.datasets.toy_scenes import draw, scene
    from tests.unit.training.made_runs import CAPTIONS, finished_run

    folder = Path(place)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for number in range(rows // 2):
        grain = np.random.default_rng(number).integers(-20, 20, (*SIDE_PX, 3))
        drawn = np.asarray(Image.fromarray(draw(scene(5, number))).resize(SIDE_PX[::-1]), np.int64)
        Image.fromarray(np.clip(drawn + grain, 0, 255).astype(np.uint8)).save(
            folder / "images" / f"{number:06d}.jpg", quality=90
        )
    made = [_row(number) for number in range(rows)]
    for row in made:
        row["image"] = image_ref(
            f"{int(row['image_id'].split('-')[1]):06d}.jpg", height_px=SIDE_PX[0], width_px=SIDE_PX[1]
        )
    tables = [pa.Table.from_pylist(made[i : i + 128], CAPTIONS) for i in range(0, rows, 128)]
    if not (folder / "model" / "open_clip_model.safetensors").exists():
        from negscale.models.weights import to_bytes

        torch.manual_seed(0)
        (folder / "model").mkdir(exist_ok=True)
        model: Any = open_clip.create_model("ViT-B-32-quickgelu")
        (folder / "model" / "open_clip_model.safetensors").write_bytes(to_bytes(model.state_dict()))
        cfg = {"model_cfg": open_clip.get_model_config("ViT-B-32-quickgelu"), "preprocess_cfg": {}}
        (folder / "model" / "open_clip_config.json").write_text(json.dumps(cfg))
    finished_run(folder / f"rows-{rows}", "negationclip/p1", tables)
    return {"rows": rows}


def _row(number: int) -> dict[str, Any]:
    from tests.unit.training.made_runs import caption_row

    return caption_row(5, number)


def _config(place: str, rows: int, batch: int, root: str) -> Any:
    from negscale.backends.dual_encoders import OpenClipEncoderConfig
    from negscale.training.config import TrainConfig

    return TrainConfig.model_validate({
        "model": OpenClipEncoderConfig(model=f"local-dir:{place}/model", pretrained="random"),
        "data": [{"uri": f"{place}/rows-{rows}", "image_root": f"{place}/images"}], "seed": 3,
        "objective": {"kind": "negationclip", "mask_same_image": False}, "freeze": ["visual", "ln_final"], "epochs": 2,
        "batch_rows": batch, "optimiser": {"rate": RATE}, "holdout": {"share": 0.0},
        "runtime": {"run_root": root, "device": "cpu", "checkpoint_every": 100_000},
    })  # fmt: skip


def ours_leg(place: str, rows: int, batch: int, work: str) -> Figures:
    """The loop of `negscale train` over vectors that its first epoch's start makes; samples/s of the second epoch."""
    from negscale.training.batches import Collator
    from negscale.training.clip_text import Schedule, train
    from negscale.training.loading import load_text_encoder
    from negscale.training.reader import ALONE
    from negscale.training.run import CURSORS, batches_from, embed, make_engine, open_data

    config = _config(place, rows, batch, work)
    data = open_data(config)
    begun = time.perf_counter()
    embed(config, data, ALONE)
    embedding_s = time.perf_counter() - begun
    encoder, tokenizer, width = load_text_encoder(config.model)
    engine = make_engine(config, encoder, "cpu")
    lengths: list[int] = []

    def counted(texts: Any) -> Any:
        tokens = tokenizer(texts)
        lengths.append(tokens.ids_TL.shape[1])
        return tokens

    batches = batches_from(config, data, Collator(config.objective, counted, width, config.seed), dict(CURSORS), ALONE)
    losses, ends = [], [time.perf_counter()]

    def report(progress: Any) -> None:
        losses.append(progress.metrics["loss"])
        ends.append(time.perf_counter())

    steps = 2 * -(-rows // batch)
    train(batches, engine, config.objective, Schedule(RATE, steps), report)
    return {
        "losses": losses, "samples_s": rows / (ends[-1] - ends[steps // 2]), "embedding_s": embedding_s,
        "tokens": max(lengths),
    }  # fmt: skip


def _batches(place: str, rows: int, batch: int, work: str) -> list[list[dict[str, Any]]]:
    """The rows of both epochs in the order that ours takes."""
    from negscale.training.order import Cursor
    from negscale.training.run import open_data

    stream = open_data(_config(place, rows, batch, work)).rows
    return [found.rows for epoch in (0, 1) for found in stream.epoch(Cursor(epoch, 0), batch)]


def _model(place: str) -> tuple[Any, Any]:
    import open_clip

    model: Any = open_clip.create_model(f"local-dir:{place}/model")
    model.eval()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith(("visual.", "ln_final.")))
    return model, open_clip.get_tokenizer("ViT-B-32")


def _plain_step(model: Any, optimiser: Any, image: Any, text: Any) -> float:
    """InfoNCE on a batch and a step of AdamW, as released."""
    import torch
    from torch.nn import functional as F

    logits = model.logit_scale.exp() * F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T
    target = torch.arange(len(logits))
    loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return float(loss)


def _adam(model: Any) -> Any:
    import torch

    return torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=RATE)


def released_leg(place: str, rows: int, batch: int, work: str) -> Figures:
    """As released: decode, transform and encode the images of every batch, texts at 77 tokens."""
    import open_clip
    import torch
    from PIL import Image

    from negscale.datasets.images import ImageReader

    model, tokenizer = _model(place)
    transform: Any = open_clip.create_model_and_transforms(f"local-dir:{place}/model")[2]
    reader, optimiser = ImageReader(f"{place}/images"), _adam(model)
    losses, ends = [], [time.perf_counter()]
    for found in _batches(place, rows, batch, work):
        pictures = torch.stack([transform(Image.fromarray(reader.read(row["image"]))) for row in found])
        image = model.encode_image(pictures)
        text = model.encode_text(tokenizer([row["negated_caption"] for row in found]))
        losses.append(_plain_step(model, optimiser, image, text))
        ends.append(time.perf_counter())
    return {"losses": losses, "samples_s": rows / (ends[-1] - ends[len(losses) // 2]), "tokens": 77}


def bare_leg(place: str, rows: int, batch: int, work: str) -> Figures:
    """Nothing but the model: tokens, cut at the batch's longest text, and image vectors lie in memory."""
    import torch

    from negscale.models.towers import OpenClipTokenizer, TextEncoder
    from negscale.training.order import Cursor
    from negscale.training.reader import ALONE
    from negscale.training.run import embed, open_data

    config = _config(place, rows, batch, work)
    data = open_data(config)
    embed(config, data, ALONE)
    model, tokenizer = _model(place)
    ready = []
    for epoch in (0, 1):
        for found in data.rows.epoch(Cursor(epoch, 0), batch):
            tokens = OpenClipTokenizer(tokenizer, 77)([row["negated_caption"] for row in found.rows])
            ready.append((tokens.ids_TL, torch.from_numpy(found.vectors["image"])))
    encoder = TextEncoder(model)
    optimiser = _adam(model)
    losses, ends = [], [time.perf_counter()]
    for ids, image in ready:
        losses.append(_plain_step(model, optimiser, image, encoder(ids)[0]))
        ends.append(time.perf_counter())
    tokens = max(ids.shape[1] for ids, _ in ready)
    return {"losses": losses, "samples_s": rows / (ends[-1] - ends[len(losses) // 2]), "tokens": tokens}


# -- the readers: ids, captions, negated captions and a 512-d vector of every row, shuffled, in batches of 512 ---------------

SHARD_ROWS, READ_BATCH, BUFFER = 4096, 512, 10_000


def prepare_reader_leg(place: str, rows: int, work: str) -> Figures:
    """The same rows as a run with its vectors, as WebDataset tars, and as Parquet with a vector column."""
    import io
    import tarfile

    import pyarrow as pa
    import pyarrow.parquet as pq
    import torch

    from negscale.models.weights import to_bytes
    from tests.unit.training.made_runs import CAPTIONS, finished_run

    folder = Path(place) / f"reader-{rows}"
    for name in ("tars", "parquet", "vectors"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    base = [_row(number) for number in range(min(rows, 4000))]
    tables = []
    for start in range(0, rows, SHARD_ROWS):
        numbers = range(start, min(start + SHARD_ROWS, rows))
        made = [{**base[n % len(base)], "id": f"row-{n:08d}"} for n in numbers]
        vectors = np.random.default_rng(start).standard_normal((len(made), WIDTH), np.float32)
        tables.append(pa.Table.from_pylist(made, CAPTIONS))
        name = f"s{start // SHARD_ROWS:04d}"
        (folder / "vectors" / f"{name}.safetensors").write_bytes(to_bytes({"vectors": torch.from_numpy(vectors)}))
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), WIDTH)
        wide = tables[-1].select(["id", "caption", "negated_caption"]).append_column("vector", column)
        pq.write_table(wide, folder / "parquet" / f"{name}.parquet", compression="zstd")
        with tarfile.open(folder / "tars" / f"{name}.tar", "w") as tar:
            for row, vector in zip(made, vectors, strict=True):
                buffer = io.BytesIO()
                np.save(buffer, vector)
                texts = json.dumps({"caption": row["caption"], "negated_caption": row["negated_caption"]}).encode()
                for ending, data in (("json", texts), ("npy", buffer.getvalue())):
                    info = tarfile.TarInfo(f"{row['id']}.{ending}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
    finished_run(folder / "run", "negationclip/p1", tables)
    (folder / "done").touch()
    return {"rows": rows}


def _rate(batches: Any, rows: int) -> Figures:
    """Samples/s from the first batch asked for to the last one read; all rows must have come once."""
    begun, count, seen = time.perf_counter(), 0, 0.0
    ids: set[str] = set()
    for names, captions, negated, vectors in batches:
        assert len(names) == len(captions) == len(negated) == len(vectors)
        count += len(names)
        seen += float(vectors[0, 0])
        ids.update(names)
    if count != rows or len(ids) != rows:
        raise LegError(f"{count} rows and {len(ids)} ids came, {rows} were expected")
    return {"samples_s": rows / (time.perf_counter() - begun), "sum": seen}


def reader_leg(place: str, rows: int, work: str) -> Figures:
    """Ours: exact shuffle in windows of 65,536 rows."""
    import torch

    from negscale.models.weights import from_bytes
    from negscale.training.order import Cursor
    from negscale.training.reader import HoldoutConfig, TrainingRunConfig, open_streams

    folder = Path(place) / f"reader-{rows}"
    run = TrainingRunConfig(uri=str(folder / "run"))
    stream, _ = open_streams([run], ("caption", "negated_caption"), 0, HoldoutConfig())

    class Kept:
        def read(self, number: int, shard: Any) -> np.ndarray:
            file = folder / "vectors" / f"{shard.name}.safetensors"
            return from_bytes(file.read_bytes(), str(file))["vectors"].numpy()

    stream.vectors["image"] = Kept()

    def batches() -> Any:
        for found in stream.epoch(Cursor(), READ_BATCH):
            texts = [[row[name] for row in found.rows] for name in ("id", "caption", "negated_caption")]
            yield *texts, torch.from_numpy(found.vectors["image"])

    return _rate(batches(), rows)


def webdataset_leg(place: str, rows: int, work: str) -> Figures:
    """WebDataset in this process: shuffled tars, a shuffle buffer, numpy decoded."""
    import io

    import torch
    import webdataset as wds  # type: ignore[import-untyped]

    folder = Path(place) / f"reader-{rows}" / "tars"
    dataset: Any = wds.WebDataset(sorted(map(str, folder.glob("*.tar"))), shardshuffle=100, seed=0)
    dataset = dataset.shuffle(BUFFER).batched(READ_BATCH, collation_fn=list)

    def batches() -> Any:
        for found in dataset:
            texts = [json.loads(sample["json"]) for sample in found]
            vectors = np.stack([np.load(io.BytesIO(sample["npy"])) for sample in found])
            yield (
                [sample["__key__"] for sample in found], [t["caption"] for t in texts], [t["negated_caption"] for t in texts],
                torch.from_numpy(vectors),
            )  # fmt: skip

    return _rate(batches(), rows)


def ray_data_leg(place: str, rows: int, work: str) -> Figures:
    """`iter_torch_batches` with a local shuffle buffer on a private Ray."""
    import logging

    import ray
    import ray.data
    import torch

    ray.init(address="local", include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    dataset = ray.data.read_parquet(str(Path(place) / f"reader-{rows}" / "parquet"), shuffle="files")

    def collate(table: Any) -> Any:
        vectors = np.stack(table["vector"])
        return [list(table[name]) for name in ("id", "caption", "negated_caption")], torch.from_numpy(vectors)

    def batches() -> Any:
        plain: Any = dataset.iter_torch_batches(
            batch_size=READ_BATCH, local_shuffle_buffer_size=BUFFER, collate_fn=collate, prefetch_batches=2
        )
        for texts, vectors in plain:
            yield *texts, vectors

    try:
        list(dataset.limit(1).iter_batches())  # workers are up: start-up is not reading
        return _rate(batches(), rows)
    finally:
        ray.shutdown()
