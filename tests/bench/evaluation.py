"""All CLIP benchmarks with photographs in one evaluation against one after another.

The baseline does what the released evaluators do, in their order and with their libraries: for each benchmark on its own, read
images in batches, `encode_image`, tokenize to 77, `encode_text`, score. It is kinder than they are: batches where SugarCrepe
and VALSE go item by item, and no start of Python for each benchmark. The model is open_clip's ViT-B/32 with random weights;
loading it is not timed on either side. A quick run takes every n-th item of each benchmark; reuse grows with the share.
"Reuse alone" pads every text to 77 tokens, as the baseline does. Blind controls, which no released evaluator has,
are timed by themselves.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.bench.legs import REPO, Figures, NotHereError
from tests.bench.report import Bench, spread

ARCHITECTURE, BATCH = "ViT-B-32", 32
REUSE_TARGET, CUT_TARGET = 1.5, 2.5
CLOSE = 1e-5


def measure(bench: Bench) -> None:
    """Legs in turn, ratios of their medians."""
    shared = Path(os.environ.get("NEGSCALE_SHARED_DATA", REPO.parent / "shared" / "data"))
    if not shared.is_dir():
        raise NotHereError(f"no photographs at {shared}; set NEGSCALE_SHARED_DATA")
    step, repeats = bench.by_size(40, 1, 1), bench.by_size(1, 1, 3)
    bench.baseline = "each benchmark encodes its own images and its captions at 77 tokens, batches of 32, then scores"
    bench.config = {
        "model": ARCHITECTURE,
        "every_nth_item": step,
        "batch": BATCH,
        "threads": os.environ.get("OMP_NUM_THREADS"),
    }
    with TemporaryDirectory(prefix="negscale-bench-") as folder:
        weights = f"{folder}/weights.safetensors"
        bench.leg(make_model_leg, path=weights)
        found: dict[str, list[Figures]] = {"one after another": [], "reuse alone": [], "reuse, cut captions": []}
        for repeat in range(repeats):
            places = {"shared": str(shared), "weights": weights, "step": step, "repeat": repeat}
            found["one after another"].append(bench.leg(released_leg, 7200, out=f"{folder}/released", **places))
            for name, cut in (("reuse alone", False), ("reuse, cut captions", True)):
                out = f"{folder}/{'cut' if cut else 'full'}"
                found[name].append(bench.leg(negscale_leg, 7200, out=out, cut=cut, **places))
        _compare(bench, folder, found)


def _compare(bench: Bench, folder: str, found: dict[str, list[Figures]]) -> None:
    seconds = {name: spread([leg["seconds"] for leg in legs]) for name, legs in found.items()}
    base = seconds["one after another"]["median"]
    for name, legs in found.items():
        counts = f"{legs[0]['pictures']:,} pictures, {legs[0]['texts']:,} texts"
        low, high = seconds[name]["min"], seconds[name]["max"]
        bench.row(name, f"{seconds[name]['median']:.1f} s (min {low:.1f}, max {high:.1f}); {counts}")
    bench.row("blind controls, by themselves", f"{found['reuse, cut captions'][0]['controls_s']:.1f} s")
    bench.figures["evaluation_s"] = seconds
    bench.target(
        "one after another over reuse alone", base / seconds["reuse alone"]["median"], REUSE_TARGET, "at_least"
    )
    cut = base / seconds["reuse, cut captions"]["median"]
    bench.target("one after another over reuse and cut captions", cut, CUT_TARGET, "at_least")
    for name in ("full", "cut"):
        apart, other, items = _differences(f"{folder}/released", f"{folder}/{name}")
        bench.figures[f"same_{name}"] = {"largest_difference": apart, "other_verdicts": other, "items": items}
        bench.row(
            f"{name} captions against the baseline",
            f"embeddings within {apart:.2g}; {other} of {items:,} verdicts differ",
        )
        bench.target(f"largest difference of an embedding, {name} captions", apart, CLOSE, "at_most")
        bench.target(f"verdicts that differ, {name} captions", other, 0, "at_most")


def _differences(a: str, b: str) -> tuple[float, int, int]:
    """(largest difference of a number of an embedding, verdicts that differ, verdicts) of two legs' results."""
    import numpy as np

    left, right = (json.loads(Path(place, "results.json").read_text()) for place in (a, b))
    if left["names"] != right["names"] or left["credits"].keys() != right["credits"].keys():
        raise AssertionError("the legs encoded or scored different things")
    vectors = [np.load(Path(place, "vectors.npy")) for place in (a, b)]
    other = sum(credit != right["credits"][item] for item, credit in left["credits"].items())
    return float(np.abs(vectors[0] - vectors[1]).max()), other, len(left["credits"])


# -- legs -----------------------------------------------------------------------------------------------------------------


def make_model_leg(path: str, work: str) -> Figures:
    """ViT-B/32 with random weights."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model: Any = open_clip.create_model(ARCHITECTURE)
    save_file(dict(model.state_dict()), path)
    return {"parameters": sum(values.numel() for values in model.parameters())}


def released_leg(shared: str, weights: str, step: int, out: str, work: str) -> Figures:
    """One benchmark after another, each with its own images and captions."""
    import open_clip
    import torch
    from PIL import Image

    from negscale.benchmarks.encoding import Vectors, wanted
    from negscale.benchmarks.scoring import score

    library: Any = open_clip  # its types say Tensor where they mean modules
    model, _, transform = library.create_model_and_transforms(ARCHITECTURE, pretrained=weights, weights_only=True)
    model.eval()
    tokenizer = open_clip.get_tokenizer(ARCHITECTURE)
    root, prepared = _prepared(shared, step)
    kept: dict[Any, Any] = {}
    credits: dict[str, Any] = {}
    pictures_seen = texts_seen = 0
    began = time.perf_counter()

    def view(picture: Any) -> Any:
        with Image.open(f"{root}/{picture.path}") as file:
            whole = file.convert("RGB")
        x, y, w, h = picture.box or (0, 0, *whole.size)
        return transform(whole.crop((x, y, x + w, y + h)) if picture.box else whole)

    with torch.inference_mode():
        for one in prepared:
            items = one.located.items
            shown, said = _in_item_order(items)
            seen = [model.encode_image(torch.stack(list(map(view, part))), normalize=True) for part in _batches(shown)]
            words = [model.encode_text(tokenizer(part), normalize=True) for part in _batches(said)]
            pictures_seen, texts_seen = pictures_seen + len(shown), texts_seen + len(said)
            image_rows, text_rows = torch.cat(seen).numpy(), torch.cat(words).numpy()
            vectors = Vectors(
                {p: n for n, p in enumerate(shown)}, {t: n for n, t in enumerate(said)}, image_rows, text_rows
            )  # fmt: skip
            credits |= _credits(one, score(one.benchmark, items, vectors))
            kept |= dict(zip(shown, image_rows, strict=True)) | dict(zip(said, text_rows, strict=True))
    seconds = time.perf_counter() - began
    _keep(out, *wanted(one.located.items for one in prepared), kept.__getitem__, credits)
    return {"seconds": seconds, "pictures": pictures_seen, "texts": texts_seen}


def negscale_leg(shared: str, weights: str, step: int, out: str, cut: bool, work: str) -> Figures:
    """All at once: name contents, encode what is new in a local run, score. cut: captions end at their end of text."""
    from negscale.backends import dual_encoders
    from negscale.backends.dual_encoders import OpenClipEncoderConfig
    from negscale.backends.hf_weights import TorchConfig
    from negscale.benchmarks.controls import Controls, blind_controls
    from negscale.benchmarks.encoding import read_vectors, things_of, wanted
    from negscale.benchmarks.released_run import evaluate
    from negscale.benchmarks.suite_config import SuiteConfig
    from negscale.datasets.images import ImageReader
    from negscale.suite import embed, store_of

    if not cut:
        dual_encoders.causal_tower = lambda model: None  # the encoder then pads every text to 77 tokens
    encoder = OpenClipEncoderConfig(model=ARCHITECTURE, path=weights, run=TorchConfig(batch_size=BATCH))
    root, prepared = _prepared(shared, step)
    config = SuiteConfig.model_validate({
        "data_root": shared, "models": {"m": encoder}, "sizes": {"picture_batch": BATCH},
        "runtime": {"executor": "local", "run_root": work},
    })  # fmt: skip
    warm = encoder.build()  # imports; the model is loaded again in the run, and that is taken off
    begun = time.perf_counter()
    warm.load()
    load_s = time.perf_counter() - begun
    warm.close()
    none = Controls({}, (), float("nan"), {})
    began = time.perf_counter()
    store = store_of(encoder, config.store_root)
    things = things_of(*wanted(one.located.items for one in prepared), ImageReader(root))
    manifest = embed(encoder, things, store, root, config)
    assert manifest is not None
    assert manifest.rows_kept == manifest.rows_read
    vectors = read_vectors(store, things)
    credits: dict[str, Any] = {}
    for one in prepared:
        credits |= _credits(one, evaluate(one, vectors, blind=none).rows)
    seconds = time.perf_counter() - began - load_s
    begun = time.perf_counter()
    for one in prepared:
        blind_controls(one.benchmark.task, one.located.items, one.benchmark.name)
    controls_s = time.perf_counter() - begun

    def vector(thing: Any) -> Any:
        if isinstance(thing, str):
            return vectors.text_vectors[vectors.text_rows[thing]]
        return vectors.picture_vectors[vectors.picture_rows[thing]]

    _keep(out, *wanted(one.located.items for one in prepared), vector, credits)
    counts = {"pictures": len(set(things.pictures.values())), "texts": len(things.texts)}
    return {"seconds": seconds, "controls_s": controls_s, "load_s": load_s, **counts}


# -- parts ----------------------------------------------------------------------------------------------------------------


def _prepared(shared: str, step: int) -> tuple[str, list[Any]]:
    """(image root, every n-th item of each benchmark whose photographs are there)."""
    import pyarrow as pa

    from negscale.benchmarks.released_run import prepare

    root = f"{shared}/coco"
    found = []
    for one in prepare(f"{shared}/bench", root).prepared:
        items = one.located.items
        chosen = items.take(pa.array(range(0, len(items), step), pa.int64()))
        found.append(replace(one, located=replace(one.located, items=chosen)))
    return root, found


def _in_item_order(items: Any) -> tuple[list[Any], list[str]]:
    """Pictures and texts as the released loops meet them: those of every item, repeats included."""
    from negscale.benchmarks.encoding import pictures_of

    return [p for row in pictures_of(items) for p in row], [t for row in items["texts"].to_pylist() for t in row]


def _batches(things: Sequence[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(things), BATCH):
        yield list(things[start : start + BATCH])


def _credits(one: Any, rows: Any) -> dict[str, Any]:
    """What decides each item: its credit, or the rank of its best right answer."""
    name = one.benchmark.name
    if "credit" in rows.column_names:
        return {
            f"{name} {n} {i}": c
            for n, (i, c) in enumerate(zip(*(rows[k].to_pylist() for k in ("id", "credit")), strict=True))
        }
    ranks = zip(rows["direction"].to_pylist(), rows["above"].to_pylist(), strict=True)
    return {f"{name} {n} {direction}": above for n, (direction, above) in enumerate(ranks)}


def _keep(out: str, pictures: Sequence[Any], texts: Sequence[str], vector: Any, credits: dict[str, Any]) -> None:
    import numpy as np

    Path(out).mkdir(parents=True, exist_ok=True)
    things = [*pictures, *texts]
    np.save(Path(out, "vectors.npy"), np.stack([vector(thing) for thing in things]))
    Path(out, "results.json").write_text(json.dumps({"names": [repr(thing) for thing in things], "credits": credits}))
