"""The contract of ImageEditor, on a small InstructPix2Pix with random weights through diffusers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from negscale.backends.diffusers_editor import PIPELINE, DiffusersEditor, DiffusersEditorConfig
from negscale.backends.diffusion_weights import DiffusionRunConfig
from negscale.backends.ip2p import InstructPix2PixLoop
from negscale.core.backend import Edit, EditRequest
from negscale.core.errors import ConfigError, FatalError
from negscale.core.stage import Fault
from tests.unit.backends.made_editors import make_instruct_pix2pix, picture, requests

torch: Any = pytest.importorskip("torch")
diffusers: Any = pytest.importorskip("diffusers")
STEPS = 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_instruct_pix2pix(tmp_path_factory.mktemp("ip2p"))


def config_of(folder: Path, batch: int = 4, **values: Any) -> DiffusersEditorConfig:
    run = values.pop("run", DiffusionRunConfig(device="cpu", batch_size=batch))
    small = {"size_px": 64, "multiple_px": 16, "steps": STEPS, "dtype": "float32"}
    return DiffusersEditorConfig(model="made/ip2p", path=str(folder), run=run, **{**small, **values})


def editor_of(folder: Path, batch: int = 4, **values: Any) -> DiffusersEditor:
    editor = config_of(folder, batch, **values).build()
    editor.load()
    return editor


@pytest.fixture(scope="module")
def editor(folder: Path) -> DiffusersEditor:
    return editor_of(folder)


def images(answers: Sequence[Edit | Fault]) -> list[np.ndarray]:
    assert all(isinstance(answer, Edit) for answer in answers), answers
    return [answer.image for answer in answers if isinstance(answer, Edit)]


def same(first: Sequence[Edit | Fault], second: Sequence[Edit | Fault]) -> bool:
    return all((a == b).all() for a, b in zip(images(first), images(second), strict=True))


def library(folder: Path) -> Any:
    pipe = getattr(diffusers, PIPELINE).from_pretrained(folder, safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.mark.parametrize("scheduler", ["euler_ancestral", "euler", "ddim", "dpm_solver"])
def test_an_edit_is_the_librarys(folder: Path, scheduler: str) -> None:
    """Latents to 1e-4, pixels to one level."""
    editor = editor_of(folder, batch=1, scheduler=scheduler)
    pipe = library(folder)
    pipe.scheduler = editor._pipe.scheduler
    (request,) = requests(1)

    def called(kind: str) -> Any:
        return pipe(
            prompt=request.instruction, image=Pillow.fromarray(request.image), num_inference_steps=STEPS,
            guidance_scale=7.5, image_guidance_scale=1.5, generator=torch.Generator("cpu").manual_seed(request.seed),
            output_type=kind,
        ).images[0]  # fmt: skip

    loop = InstructPix2PixLoop(pipe, "cpu", STEPS, 7.5, 1.5)
    with torch.inference_mode():
        shown, said = loop.image_latents(request.image), loop.text_states(request.instruction)
        latents = loop.denoise(shown, said, loop.text_states(""), [request.seed])
    expected = called("latent")
    assert expected.std() > 0.1
    assert (latents[0] - expected).abs().max().item() < 1e-4
    (made,) = images(editor.edit([request]))
    assert np.abs(made.astype(int) - np.asarray(called("pil")).astype(int)).max() <= 1


def test_rows_of_a_batch_are_the_librarys_too(folder: Path) -> None:
    asked = requests(3)
    pipe = library(folder)
    pipe.scheduler = diffusers.EulerAncestralDiscreteScheduler.from_config(pipe.scheduler.config)
    output = pipe(
        prompt=[r.instruction for r in asked], image=[Pillow.fromarray(r.image) for r in asked], num_inference_steps=STEPS,
        generator=[torch.Generator("cpu").manual_seed(r.seed) for r in asked],
    )  # fmt: skip
    made = images(editor_of(folder, batch=3).edit(asked))
    for ours, theirs in zip(made, output.images, strict=True):
        assert np.abs(ours.astype(int) - np.asarray(theirs).astype(int)).max() <= 1


def test_the_answer_of_a_row_does_not_depend_on_the_others(editor: DiffusersEditor) -> None:
    seven = requests(7)
    found = editor.edit(seven)
    assert same(found[:1], editor.edit(seven[:1]))
    assert same(found[:3], editor.edit(seven[:3]))
    assert same(found[4:], editor.edit(seven[4:]))
    assert same(found, editor.edit(seven))
    assert {edit.batch for edit in found if isinstance(edit, Edit)} == {4}


def test_image_words_and_seed_all_bear_on_an_edit(editor: DiffusersEditor) -> None:
    base = EditRequest(picture(0), "Add a cat.", 1)
    others = [EditRequest(picture(1), "Add a cat.", 1), EditRequest(picture(0), "Add a dog.", 1)]
    others.append(EditRequest(picture(0), "Add a cat.", 2))
    (first, *rest) = images(editor.edit([base, *others]))
    assert all((first != other).any() for other in rest)


def test_sizes_may_mix_and_come_back(editor: DiffusersEditor) -> None:
    sizes = [(48, 64), (64, 48), (48, 64), (5, 700), (1, 1), (64, 48)]
    asked = [EditRequest(picture(n, *size), "Add a cat.", n) for n, size in enumerate(sizes)]
    found = editor.edit(asked)
    assert [image.shape[:2] for image in images(found)] == sizes
    assert all(same([found[n]], editor.edit([asked[n]])) for n in range(len(sizes)))


def test_no_pixels_is_a_fault_of_its_row_alone(editor: DiffusersEditor) -> None:
    good = requests(2)
    grey = EditRequest(np.zeros((48, 64), np.uint8), "Add a cat.")
    found = editor.edit([good[0], grey, good[1]])
    assert isinstance(found[1], Fault)
    assert found[1].kind == "bad_pixels"
    assert same([found[0], found[2]], editor.edit(good))


def test_edits_share_what_depends_on_the_image_or_the_words_alone(folder: Path) -> None:
    editor = editor_of(folder)
    counts = {"encoder": 0, "text": 0}

    def counting(name: str) -> Any:
        def hook(*_: Any) -> None:
            counts[name] += 1

        return hook

    editor._pipe.vae.encoder.register_forward_hook(counting("encoder"))
    editor._pipe.text_encoder.register_forward_hook(counting("text"))
    words = ["Add a cat.", "Add a dog.", "Add a hat."]
    editor.edit([EditRequest(picture(n), text, n) for n in range(2) for text in words])
    assert counts == {"encoder": 2, "text": 3}


def test_out_of_memory_halves_the_batch_and_loses_no_row(folder: Path) -> None:
    editor, asked = editor_of(folder, batch=4), requests(7)

    def small_gpu(_: Any, inputs: tuple[Any, ...]) -> None:
        if len(inputs[0]) > 3 * 2:  # three passes of the UNet for an edit
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    editor._pipe.unet.register_forward_pre_hook(small_gpu)
    found = editor.edit(asked)
    assert [edit.batch for edit in found if isinstance(edit, Edit)] == [2] * 7
    assert same(found, editor_of(folder, batch=2).edit(asked))


def test_one_edit_that_does_not_fit_is_a_fault_to_be_retried(folder: Path) -> None:
    editor = editor_of(folder, batch=2)

    def no_room_for_squares(_: Any, inputs: tuple[Any, ...]) -> None:
        if inputs[0].shape[2] == inputs[0].shape[3]:
            raise RuntimeError("HIP out of memory")

    editor._pipe.unet.register_forward_pre_hook(no_room_for_squares)
    asked = [EditRequest(picture(n, height, 64), "Add a cat.", n) for n, height in enumerate((64, 48, 64))]
    found = editor.edit(asked)
    assert isinstance(found[1], Edit)
    for answer in (found[0], found[2]):
        assert isinstance(answer, Fault)
        assert (answer.kind, answer.retryable) == ("out_of_memory", True)
        assert "64 x 64" in answer.message


def test_other_errors_of_the_model_are_raised(folder: Path) -> None:
    editor = editor_of(folder)

    def broken(*_: Any) -> None:
        raise RuntimeError("shapes cannot be multiplied")

    editor._pipe.unet.register_forward_pre_hook(broken)
    with pytest.raises(RuntimeError, match="shapes"):
        editor.edit(requests(2))


def test_nan_and_blank_are_faults_of_their_rows(folder: Path) -> None:
    editor, asked = editor_of(folder), requests(4)
    expected = editor.edit(asked)

    def ill(_: Any, __: Any, output: Any) -> Any:
        output = output.clone()
        output[1, :, 3, 3], output[2] = float("nan"), -9.0
        return output

    editor._pipe.vae.decoder.register_forward_hook(ill)
    found = editor.edit(asked)
    assert same([found[0], found[3]], [expected[0], expected[3]])
    kinds = [(answer.kind, answer.retryable) for answer in found if isinstance(answer, Fault)]
    assert kinds == [("not_a_number", True), ("blank_image", True)]


def test_guidance_of_one_is_the_conditional_prediction(folder: Path) -> None:
    """Equation 3 with both guidances 1 is e(I, T): the single pass must agree with the three."""
    pipe = library(folder)
    single, nearly = (InstructPix2PixLoop(pipe, "cpu", STEPS, text, 1.0) for text in (1.0, 1.0 + 1e-9))
    with torch.inference_mode():
        given = (single.image_latents(picture(0)), single.text_states("Add a cat."), single.text_states(""), [5])
        assert (single.denoise(*given) - nearly.denoise(*given)).abs().max().item() < 1e-4


def test_half_precision_gives_pictures_near_those_of_float32(folder: Path) -> None:
    asked = requests(2)
    full, half = images(editor_of(folder).edit(asked)), images(editor_of(folder, dtype="bfloat16").edit(asked))
    assert all(np.abs(a.astype(float) - b).mean() < 12 for a, b in zip(full, half, strict=True))


@pytest.mark.parametrize("run", [{"attention": "sliced"}, {"autoencoder": "sliced"}])
def test_memory_savers_change_nothing_to_be_seen(folder: Path, editor: DiffusersEditor, run: dict[str, Any]) -> None:
    config = config_of(folder)
    saving = config.model_copy(update={"run": config.run.model_copy(update=run)}).build()
    saving.load()
    for a, b in zip(images(editor.edit(requests(2))), images(saving.edit(requests(2))), strict=True):
        assert np.abs(a.astype(int) - b.astype(int)).max() <= 1


def test_an_editor_must_be_loaded_and_can_be_loaded_again(folder: Path) -> None:
    editor = config_of(folder).build()
    with pytest.raises(FatalError, match="not loaded"):
        editor.edit(requests(1))
    editor.load()
    before = editor.edit(requests(1))
    editor.close()
    with pytest.raises(FatalError, match="not loaded"):
        editor.edit(requests(1))
    editor.load()
    assert same(before, editor.edit(requests(1)))


def test_identity_is_that_of_the_files(folder: Path, tmp_path: Path) -> None:
    config = config_of(folder)
    moved = shutil.copytree(folder, tmp_path / "moved")
    assert config_of(moved).identity() == config.identity()
    assert config_of(moved, batch=1).identity() == config.identity()
    assert config_of(moved, steps=9).identity() != config.identity()
    assert config.build().id == config_of(moved).build().id
    (moved / "scheduler" / "scheduler_config.json").write_text("{}")
    assert config_of(moved).identity() != config.identity()


@pytest.mark.parametrize(
    "ways", [{"layout": "channels_last"}, {"attention": "plain"}, {"attention": "sliced"}, {"compile": True}]
)
def test_other_ways_to_compute_give_the_same_pictures(folder: Path, editor: DiffusersEditor, ways: dict) -> None:
    if ways.get("compile") and not any(map(shutil.which, ("g++", "clang++"))):
        pytest.skip("no C++ compiler here")
    plain = config_of(folder)
    other = plain.model_copy(update={"run": plain.run.model_copy(update=ways)})
    assert other.identity() == plain.identity()
    made = other.build()
    made.load()
    asked = requests(4)
    pairs = zip(images(made.edit(asked)), images(editor.edit(asked)), strict=True)
    assert max(int(abs(a.astype(int) - b).max()) for a, b in pairs) <= 1
    assert same(made.edit(asked), made.edit(asked))


def test_compiling_needs_a_compiler(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CXX", raising=False)
    config = config_of(folder, run=DiffusionRunConfig(device="cpu", compile=True))
    with pytest.raises(ConfigError, match="needs a C\\+\\+ compiler"):
        config.build().load()
    with pytest.raises(ValueError, match=r"run.offload=model would move"):
        DiffusersEditorConfig(run=DiffusionRunConfig(offload="model", compile=True))


def test_what_cannot_be_used_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a folder with a diffusers pipeline"):
        config_of(tmp_path).check_access()
    with pytest.raises(ConfigError, match="multiple of multiple_px=16"):
        editor_of(folder, size_px=40)
    with pytest.raises(ValueError, match="with device=cpu"):
        DiffusersEditorConfig(run=DiffusionRunConfig(device="cpu", offload="model"))
    with pytest.raises(ConfigError, match="has none"):
        config_of(folder, safety_checker=True).check_access()
    other = shutil.copytree(folder, tmp_path / "other")
    index = json.loads((other / "model_index.json").read_text())
    (other / "model_index.json").write_text(json.dumps(index | {"_class_name": "FluxKontextPipeline"}))
    with pytest.raises(ConfigError, match="use kind=instruction_editor"):
        config_of(other).check_access()
    coded = shutil.copytree(folder, tmp_path / "coded")
    (coded / "model_index.json").write_text(json.dumps(index | {"_class_name": ["pipeline", "Mine"]}))
    with pytest.raises(ConfigError, match="brings its own code"):
        config_of(coded).check_access()
    (shutil.copytree(folder, tmp_path / "no_weights") / "unet" / "config.json").unlink()
    with pytest.raises(ConfigError, match="cannot use model made/ip2p"):
        editor_of(tmp_path / "no_weights")
