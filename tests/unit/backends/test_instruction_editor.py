"""The adapter for any instruction editor of diffusers, on the random InstructPix2Pix called as its class wants it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from negscale.backends.diffusers_editor import PIPELINE
from negscale.backends.diffusion_weights import DiffusionRunConfig
from negscale.backends.instruction_editor import InstructionEditorConfig, as_pixels, check_call
from negscale.core.backend import Edit, EditRequest
from negscale.core.errors import ConfigError
from negscale.core.stage import Fault
from tests.unit.backends.made_editors import make_instruct_pix2pix, picture, requests

torch: Any = pytest.importorskip("torch")
diffusers: Any = pytest.importorskip("diffusers")
CALL = {"num_inference_steps": 3, "guidance_scale": 4.0, "image_guidance_scale": 1.2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_instruct_pix2pix(tmp_path_factory.mktemp("ip2p"))


def editor_of(folder: Path, **values: Any) -> Any:
    run = DiffusionRunConfig(device="cpu", batch_size=2)
    base = {"call": CALL, "dtype": "float32", "run": run}
    editor = InstructionEditorConfig(model="made/ip2p", path=str(folder), **{**base, **values}).build()
    editor.load()
    return editor


@pytest.mark.parametrize("batched", [False, True])
def test_an_edit_is_the_pipelines_own(folder: Path, batched: bool) -> None:
    asked = requests(3)
    found = editor_of(folder, batched=batched).edit(asked)
    pipe = getattr(diffusers, PIPELINE).from_pretrained(folder, safety_checker=None)
    for answer, request in zip(found, asked, strict=True):
        draw = torch.Generator("cpu").manual_seed(request.seed)
        image = Pillow.fromarray(request.image)
        (expected,) = pipe(prompt=request.instruction, image=image, generator=draw, **CALL).images
        assert isinstance(answer, Edit)
        assert answer.batch == (2 if batched else 1)
        assert np.abs(answer.image.astype(int) - np.asarray(expected).astype(int)).max() <= 1


def test_pictures_are_scaled_when_asked(folder: Path) -> None:
    (found,) = editor_of(folder, size_px=32).edit([EditRequest(picture(0, 50, 90), "Add a cat.", 1)])
    assert found.image.shape == (50, 90, 3)
    (found,) = editor_of(folder, size_px=32, fit="crop").edit([EditRequest(picture(0, 50, 90), "Add a cat.", 1)])
    assert found.image.shape == (32, 32, 3)


def test_out_of_memory_in_the_pipeline_halves(folder: Path) -> None:
    editor, asked = editor_of(folder, batched=True), requests(2)

    def small_gpu(_: Any, inputs: tuple[Any, ...]) -> None:
        if len(inputs[0]) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")

    editor._pipe.unet.register_forward_pre_hook(small_gpu)
    assert [edit.batch for edit in editor.edit(asked)] == [1, 1]


def test_nan_is_seen(folder: Path) -> None:
    editor = editor_of(folder)
    editor._pipe.vae.decoder.register_forward_hook(lambda *a: a[2] * float("nan"))
    (found,) = editor.edit(requests(1))
    assert isinstance(found, Fault)
    assert (found.kind, found.retryable) == ("not_a_number", True)


def test_the_call_is_compared_with_the_signature(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"does not take steps .*it takes .*num_inference_steps"):
        editor_of(folder, call={"steps": 3})
    with pytest.raises(ValueError, match="generator of `call` are set by the editor"):
        InstructionEditorConfig(model="made/ip2p", call={"generator": 1})
    with pytest.raises(ConfigError, match="takes no image"):
        check_call(diffusers.StableDiffusionPipeline, {})
    with pytest.raises(ConfigError, match="gave 2 pictures for 1 edits"):
        editor_of(folder, call={**CALL, "num_images_per_prompt": 2}).edit(requests(1))


@pytest.mark.parametrize(
    "name", ["FluxKontextPipeline", "QwenImageEditPipeline", "StableDiffusionXLInstructPix2PixPipeline", PIPELINE]
)
def test_newer_editors_of_diffusers_fit(name: str) -> None:
    assert {"image", "prompt", "generator"} <= set(check_call(getattr(diffusers, name), {}))


def test_an_argument_without_default_must_be_set() -> None:
    class Editor:
        def __call__(self, image: Any, prompt: Any, strength: float, generator: Any = None) -> None: ...

    with pytest.raises(ConfigError, match="also needs strength"):
        check_call(Editor, {})
    assert check_call(Editor, {"strength": 0.5}) == ["image", "prompt", "strength", "generator"]


def test_pixels_of_what_pipelines_give() -> None:
    values = np.array([[[0.0, 0.5, 1.2]]], np.float32)
    made = as_pixels(values)
    assert isinstance(made, np.ndarray)
    assert made.tolist() == [[[0, 128, 255]]]
    grey = as_pixels(Pillow.new("L", (3, 2), 7))
    assert isinstance(grey, np.ndarray)
    assert grey.shape == (2, 3, 3)
