"""Promise: a model of ViT-B/32's size goes from photographs to figures by the commands that a user types.

Photographs and captions of COCO, captions that deny something made by the CPU backends (annotations withheld), an open_clip
ViT-B/32 with random weights: trained, killed with SIGKILL, trained on, exported, loaded by open_clip, evaluated beside the
model it started from. What random weights score says nothing; that the loss falls, that the kill leaves no trace, that
every figure stands on the images it should and that both models differ, does.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from negscale.benchmarks.cells import read_suite
from negscale.storage.folder import open_folder
from negscale.training.checkpoint import Checkpoints
from tests.acceptance import trainings
from tests.acceptance.storm import REPO, Driver, cli
from tests.acceptance.test_photographs import run_of
from tests.acceptance.verdict import verdict

pytestmark = [pytest.mark.acceptance, pytest.mark.real_data, pytest.mark.timeout(3000)]

RECIPE, STEPS, BATCH = "train_clip_text_negationclip_corrected", 24, 48


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ViT-B/32 with random weights, 151 million parameters."""
    open_clip, torch = pytest.importorskip("open_clip"), pytest.importorskip("torch")
    from safetensors.torch import save_file

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "vit-b-32.safetensors"
    save_file(
        {name: value.contiguous() for name, value in open_clip.create_model("ViT-B-32").state_dict().items()}, path
    )
    return path


@pytest.fixture(scope="module")
def captions(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Negated captions of the photographs."""
    return run_of(tmp_path_factory.mktemp("p1"), shared_data).uri


def command(captions: str, data: Path, weights: Path, root: Path) -> list[str]:
    model = {"kind": "open_clip_encoder", "model": "ViT-B-32", "path": str(weights), "run": {"device": "cpu"}}
    runtime = {"run_root": str(root), "vectors": str(root.parent / "vectors"), "device": "cpu", "checkpoint_every": 4,
               "keep_checkpoints": 3, "report_every": 1, "validation": "off"}  # fmt: skip
    return cli(
        "train", RECIPE, f"model={json.dumps(model)}", f"data={json.dumps([{'uri': captions, 'image_root': str(data / 'coco')}])}",
        f"batch_rows={BATCH}", f"max_steps={STEPS}", "optimiser.rate=1e-4", "optimiser.warm_up_steps=4",
        f"runtime={json.dumps(runtime)}", "--json",
    )  # fmt: skip


def done(*arguments: str) -> str:
    """stdout of a command that must succeed."""
    found = subprocess.run(arguments, cwd=REPO, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr[-3000:]
    return found.stdout


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def state_of(folder: Path) -> dict[str, Any]:
    _, state = Checkpoints(open_folder(str(folder))).load(STEPS)
    return {**state.trainable, **state.optimiser}


@pytest.fixture(scope="module")
def trained(
    captions: str, shared_data: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """Folders of a training that nothing disturbed and of one that was killed, and when it was."""
    root = tmp_path_factory.mktemp("train")
    folders = {name: root / name / "train" / RECIPE / "dev" for name in ("straight", "broken")}
    done(*command(captions, shared_data, weights, root / "straight"))
    broken = command(captions, shared_data, weights, root / "broken")
    driver = Driver(broken, root / "broken.log")
    killed_at = trainings.wait_for_checkpoint(folders["broken"], 8, driver)
    driver.kill()
    done(*broken)
    return {**folders, "killed_at": killed_at}


def test_trains_is_killed_and_resumes_to_the_bit(trained: dict[str, Any], weights: Path) -> None:
    straight, broken = losses(trained["straight"]), losses(trained["broken"])
    expected = state_of(trained["straight"])
    differing = trainings.unequal(state_of(trained["broken"]), expected)
    first, last = sum(straight[:4]) / 4, sum(straight[-4:]) / 4
    parameters = sum(value.numel() for name, value in expected.items() if "/" not in name)
    verdict(
        "ViT-B/32's text tower on COCO's photographs: killed and resumed as if nothing had been, bit for bit",
        differing == 0 and straight == broken and len(straight) == STEPS and last < first
        and trained["killed_at"] < STEPS,
        trained_parameters=parameters, killed_at_step=trained["killed_at"], steps=STEPS, batch=BATCH, tensors=len(expected),
        differing=differing, loss_first=first, loss_last=last,
    )  # fmt: skip


def test_exports_and_is_evaluated_beside_what_it_was(
    trained: dict[str, Any], weights: Path, shared_data: Path, tmp_path: Path
) -> None:
    import open_clip
    import torch

    out = tmp_path / "export"
    done(*cli("export", str(trained["broken"]), "--to", "open-clip", "--out", str(out)))
    file = out / "open_clip_model.safetensors"
    tuned, plain = (open_clip.create_model("ViT-B-32", pretrained=str(path)).eval() for path in (file, weights))
    tokens = open_clip.get_tokenizer("ViT-B-32")(["a street without a dog", "a street with a dog"])
    picture = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        text_moved = float((tuned.encode_text(tokens) - plain.encode_text(tokens)).abs().max())
        image_moved = float((tuned.encode_image(picture) - plain.encode_image(picture)).abs().max())
    models = {
        name: {"kind": "open_clip_encoder", "model": "ViT-B-32", "path": str(path), "run": {"device": "cpu"}}
        for name, path in (("before", weights), ("tuned", file))
    }
    done(*cli(
        "eval", "all", f"data_root={shared_data / 'bench'}", f"image_root={shared_data / 'coco'}", f"models={json.dumps(models)}",
        f"out={tmp_path / 'eval'}", f"runtime.run_root={tmp_path / 'runs'}", "runtime.executor=local",
        "allow_missing_images=true",
    ))  # fmt: skip
    suite = read_suite(str(tmp_path / "eval"))
    scored = sorted({benchmark for benchmark, _ in suite.cells})
    both = all((name, key) in suite.cells for name in scored for key in models)
    items = {name: suite.cells[name, "tuned"].items for name in scored}
    shown = {key: [suite.cells[name, key].scores for name in scored] for key in models}
    verdict(
        "exported, loaded by open_clip with the image tower untouched, and evaluated beside the model it started from",
        text_moved > 1e-3 and image_moved == 0 and both and len(scored) >= 4 and all(items.values())
        and shown["before"] != shown["tuned"],
        text_moved=text_moved, image_moved=image_moved, benchmarks=len(scored), items=items,
    )  # fmt: skip
