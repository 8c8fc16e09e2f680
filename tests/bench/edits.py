"""Edits per second: the editor against a loop written as NeIn's scripts are, with the same weights, steps and seeds.

The loop reads an image, makes its five edits one after another through the library's own pipeline, under autocast as the
scripts do, saves each as JPEG, and writes the JSON of all images so far anew. That makes it slower by the image, so that
with the tiny pipeline it is measured where NeIn's own run was half done, and from its start beside. Ours, in bfloat16 too,
reads images ahead, edits in passes of equal size, shares what depends on the image or the words alone, and writes rows
once. Both run in one process on the same threads; their pictures are compared. The tiny pipeline shows what calls cost;
what arithmetic costs is `tests.bench.edits_large`. Last, how busy the editing stage keeps simulated GPUs in a graph that
decodes, edits, encodes and judges (`tests.bench.edit_graph`).
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench.legs import Figures, LegError
from tests.bench.report import Bench, spread

EDITS = 5  # of an image, as in NeIn
DONE = 37_500  # images that the loop's JSON holds already: the middle of NeIn's run (366,957 edits, five an image)
HALF, FULL = "bfloat16", "float32"
BASELINE = "diffusers' pipeline called once an edit, JPEG each, JSON of all images written after each image"
TINY_TARGET, BUSY_TARGET = 3.0, 0.95
EDITORS, SHARD_IMAGES = 2, 16


def measure(bench: Bench) -> None:
    """Interleaved legs of the tiny pipeline, then the graph."""
    from negscale.tiny_models.files import folder_of

    tiny_images, steps, repeats = bench.by_size(8, 24, 64), bench.by_size(4, 20, 20), bench.by_size(1, 3, 5)
    bench.baseline = BASELINE
    bench.config = {"edits_per_image": EDITS, "images": tiny_images, "steps": steps}
    # passes that the few images of a bench fill: in a run of thousands the last pass alone is filled up
    tiny = {
        "folder": str(folder_of("editor")),
        "images": tiny_images,
        "steps": steps,
        "batch": 2 * EDITS,
        "attention": "plain",
    }
    half = {"dtype": HALF, "compiled": True}
    measure_ratio(bench, "tiny", repeats, TINY_TARGET, {**tiny, **half, "done": DONE})
    measure_ratio(bench, "tiny from the start", 1, None, {**tiny, **half, "done": 0})
    measure_ratio(
        bench, "tiny from the start, not compiled", 1, None, {**tiny, "dtype": HALF, "compiled": False, "done": 0}
    )
    measure_ratio(
        bench,
        "tiny from the start, float32, not compiled",
        1,
        None,
        {**tiny, "dtype": FULL, "compiled": False, "done": 0},
    )
    busy = bench.leg(utilisation_leg, images=bench.by_size(4, 16, 32) * EDITORS * SHARD_IMAGES // 2)
    bench.figures["utilisation"] = busy
    bench.row("simulated graph", f"{busy['rows_s_steady']:.3g} edits/s, editors busy {busy['busy']:.3f}")
    bench.target(f"busy share of {EDITORS} simulated editors", busy["busy"], BUSY_TARGET, "at_least")


def measure_ratio(bench: Bench, name: str, repeats: int, target: float | None, run: dict[str, Any]) -> None:
    """Loop and editor in turn; `target` of the median ratio."""
    loops, ours = [], []
    for repeat in range(repeats):
        loops.append(bench.leg(loop_leg, repeat=repeat, **run))
        ours.append(bench.leg(editor_leg, repeat=repeat, **run))
        _compare(name, loops[-1]["means"], ours[-1]["means"])
    ratio = spread([a["edits_s"] / b["edits_s"] for a, b in zip(ours, loops, strict=True)])
    bench.figures[name] = {
        "loop_edits_s": spread([leg["edits_s"] for leg in loops]), "editor_edits_s": spread([leg["edits_s"] for leg in ours]),
        "ratio": ratio, "parameters": ours[0]["parameters"], "first_pass_s": spread([leg["first_pass_s"] for leg in ours]),
    }  # fmt: skip
    bench.row(f"{name}, loop", f"{bench.figures[name]['loop_edits_s']['median']:.3g} edits/s")
    bench.row(f"{name}, editor", f"{bench.figures[name]['editor_edits_s']['median']:.3g} edits/s")
    bench.row(f"{name} ({ours[0]['parameters'] / 1e6:.1f} M): editor over loop", f"{ratio['median']:.2f}x")
    if target is not None:
        bench.target(f"{name}: editor over loop", ratio["median"], target, "at_least")


def _compare(name: str, loop: list[float], ours: list[float]) -> None:
    worst = max(abs(a - b) for a, b in zip(loop, ours, strict=True))
    if worst > 1:
        raise LegError(f"{name}: the edits' mean values differ by {worst:.2f} of 255 between loop and editor")


def _inputs(work: Path, images: int) -> list[dict[str, Any]]:
    """Drawn scenes as PNG, each with the names of five objects that are not in it."""
    from negscale.core.image import encode
    from negscale.datasets.toy_icons import OBJECTS
    from negscale.datasets.toy_scenes import draw, scene

    listed = []
    for number in range(images):
        what = scene(7, number)
        path = work / f"{number:06d}.png"
        path.write_bytes(encode(draw(what)))
        absent = [name for name in OBJECTS if name not in what.names][:EDITS]
        listed.append({"path": str(path), "objects": absent, "words": [f"Add a {name}." for name in absent]})
    return listed


def _config(folder: str, steps: int, batch: int, dtype: str, compiled: bool, attention: str) -> Any:
    from negscale.tiny_models.editor_figures import tiny_editor_config

    config = tiny_editor_config(Path(folder), steps=steps)
    run = config.run.model_copy(update={"batch_size": batch, "compile": compiled, "attention": attention})
    return config.model_copy(update={"dtype": dtype, "run": run})


def loop_leg(
    folder: str, images: int, steps: int, batch: int, dtype: str, compiled: bool, attention: str, done: int, work: str
) -> Figures:
    """The plain loop; it knows no `batch` and compiles nothing. dtype bfloat16: float32 weights under autocast."""
    import diffusers
    import torch
    from PIL import Image

    from negscale.backends.working_size import WorkingSize

    config, listed = _config(folder, steps, batch, dtype, compiled, attention), _inputs(Path(work), images)
    library: Any = diffusers
    pipe = library.StableDiffusionInstructPix2PixPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    size = WorkingSize(config.size_px, config.multiple_px, config.fit)
    call = {
        "num_inference_steps": steps, "guidance_scale": config.text_guidance, "image_guidance_scale": config.image_guidance,
    }  # fmt: skip
    quintuplet = {"T_original": ["A cat sits in the park."] * EDITS, "T_generated": ["Add a dog."] * EDITS}
    whole = [
        {"COCO": f"COCO_{n:012d}", **quintuplet, "NeIn": [f"NeIn_{n:012d}_{k}" for k in range(EDITS)]}
        for n in range(done)
    ]
    means = []
    with Image.open(listed[0]["path"]) as file:
        _called(pipe, dtype, prompt="Add a hat.", image=file.convert("RGB"), **call)
    began = time.perf_counter()
    for number, item in enumerate(listed):
        names = []
        for k, text in enumerate(item["words"]):
            with Image.open(item["path"]) as file:
                source = np.asarray(file.convert("RGB"))
            shown = Image.fromarray(size.fitted(source))
            draw = torch.Generator("cpu").manual_seed(number * EDITS + k)
            edited = _called(pipe, dtype, prompt=text, image=shown, generator=draw, **call)
            edited = size.restored(edited, source)
            Image.fromarray(edited).save(Path(work, f"NeIn_{number}_{k}.jpg"))
            names.append(f"NeIn_{number}_{k}")
            means.append(float(edited.mean()))
        whole.append({"COCO": item["path"], "T_generated": item["words"], "NeIn": names})
        Path(work, "nein.json").write_text(json.dumps(whole, indent=4))
    seconds = time.perf_counter() - began
    return {"edits_s": len(means) / seconds, "means": means}


def _called(pipe: Any, dtype: str, **call: Any) -> Any:
    """One picture of the library's pipeline, under autocast for bfloat16."""
    import torch

    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == HALF):
        return np.asarray(pipe(**call).images[0])


def editor_leg(
    folder: str, images: int, steps: int, batch: int, dtype: str, compiled: bool, attention: str, done: int, work: str
) -> Figures:
    """Our editor; rows that are written once make it no matter how many are `done`."""
    from negscale.core.backend import Edit, EditRequest
    from negscale.core.image import decode, encode

    config, listed = _config(folder, steps, batch, dtype, compiled, attention), _inputs(Path(work), images)
    editor = config.build()
    editor.load()
    # both sides are timed once a first edit has made the kernels
    warming = time.perf_counter()
    editor.edit([EditRequest(decode(Path(listed[0]["path"]).read_bytes()), "Add a hat.", n) for n in range(batch)])
    began = time.perf_counter()
    first_pass_s = began - warming
    requests = []
    for number, item in enumerate(listed):
        source = decode(Path(item["path"]).read_bytes())
        requests += [
            EditRequest(source, text, number * EDITS + k, image_id=item["path"]) for k, text in enumerate(item["words"])
        ]
    made = [edit.image for edit in editor.edit(requests) if isinstance(edit, Edit)]
    if len(made) != len(requests):
        raise LegError(f"{len(requests) - len(made)} of {len(requests)} edits failed")
    with Path(work, "rows.jsonl").open("w") as out:
        for number, image in enumerate(made):
            name = f"NeIn_{number // EDITS}_{number % EDITS}"
            Path(work, f"{name}.jpg").write_bytes(encode(image, "jpeg"))
            out.write(json.dumps({"image": name, "instruction": requests[number].instruction}) + "\n")
    seconds = time.perf_counter() - began
    parameters = sum(values.numel() for values in editor._pipe.unet.parameters())
    return {
        "edits_s": len(made) / seconds,
        "means": [float(image.mean()) for image in made],
        "parameters": parameters,
        "first_pass_s": first_pass_s,
    }


def utilisation_leg(images: int, work: str) -> Figures:
    """The editing stage on Ray with simulated GPUs."""
    import functools

    import ray

    from negscale.executors.drive import generate
    from negscale.executors.ray_data import RayDataExecutor
    from tests.bench.edit_graph import Times, edit_graph
    from tests.bench.simulated import spec_of, work_figures

    log, out = Path(work, "log"), Path(work, "out")
    log.mkdir()
    ray.init(
        address="local", resources={"fakegpu": 2 * EDITORS}, include_dashboard=False, log_to_driver=False,
        logging_level="ERROR", object_store_memory=1 << 29,
    )  # fmt: skip
    store = str(out / "bench/edits/bench")
    build = functools.partial(edit_graph, images, SHARD_IMAGES, EDITORS, Times(), str(log), store)
    spec = spec_of(build, str(out))
    began = time.time()
    manifest = generate(spec, RayDataExecutor(), spec.pipeline.source.list())
    ray.shutdown()
    if manifest.rows_kept != images * EDITS:
        raise LegError(f"{manifest.rows_kept} of {images * EDITS} edits kept")
    figures = work_figures(str(log), "edit", EDITORS)
    return {**figures, "wall_s": time.time() - began, "first_edit_s": figures["first_batch_at"] - began}
