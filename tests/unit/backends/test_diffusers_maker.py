"""Text to image through diffusers, on a small Stable Diffusion with random weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from negscale.backends.diffusers_maker import DiffusersMaker, DiffusersMakerConfig
from negscale.backends.diffusion_weights import DiffusionRunConfig
from negscale.core.backend import ImageRequest
from negscale.core.errors import ConfigError, FatalError
from negscale.core.stage import Fault
from tests.unit.backends.made_editors import make_instruct_pix2pix

torch: Any = pytest.importorskip("torch")
diffusers: Any = pytest.importorskip("diffusers")
STEPS = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from negscale.tiny_models import editor

    torch.manual_seed(0)
    tokenizer = editor.instruction_tokenizer()
    unet = diffusers.UNet2DConditionModel(
        sample_size=16, in_channels=4, out_channels=4, block_out_channels=(16, 32), layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=64, attention_head_dim=4, norm_num_groups=4,
    )  # fmt: skip
    place = tmp_path_factory.mktemp("sd")
    diffusers.StableDiffusionPipeline(
        vae=editor.new_autoencoder(), text_encoder=editor.new_text_tower(tokenizer), tokenizer=tokenizer, unet=unet,
        scheduler=diffusers.DDIMScheduler(), safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    ).save_pretrained(place)  # fmt: skip
    return place


def maker_of(folder: Path, batch: int = 4, **values: Any) -> DiffusersMaker:
    run = DiffusionRunConfig(device="cpu", batch_size=batch)
    small = {"height_px": 64, "width_px": 48, "steps": STEPS, "dtype": "float32"}
    maker = DiffusersMakerConfig(model="made/sd", path=str(folder), run=run, **{**small, **values}).build()
    maker.load()
    return maker


def asked(count: int) -> list[ImageRequest]:
    words = ("Add a cat.", "Remove the hat.", "Add an umbrella.")
    return [ImageRequest(words[n % 3], ("", "tree")[n % 2], 100 + n) for n in range(count)]


def images(answers: Sequence[Any]) -> list[np.ndarray]:
    assert all(isinstance(answer, np.ndarray) for answer in answers), answers
    return list(answers)


def test_a_picture_is_the_librarys(folder: Path) -> None:
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    request = asked(2)[1]
    (made,) = images(maker_of(folder, batch=1).make([request]))
    wanted = pipe(
        prompt=request.prompt, negative_prompt=request.negative_prompt, num_inference_steps=STEPS, guidance_scale=7.5,
        height=64, width=48, generator=torch.Generator("cpu").manual_seed(request.seed), output_type="pil",
    ).images[0]  # fmt: skip
    assert made.shape == (64, 48, 3)
    assert np.abs(made.astype(int) - np.asarray(wanted).astype(int)).max() <= 1


def test_a_picture_does_not_depend_on_its_mates(folder: Path) -> None:
    maker, seven = maker_of(folder), asked(7)
    together = images(maker.make(seven))
    for number in (0, 3, 6):
        assert (images(maker.make([seven[number]]))[0] == together[number]).all()
    assert len({image.tobytes() for image in together}) == 7


def test_words_negative_words_and_seed_bear_on_it(folder: Path) -> None:
    base = ImageRequest("Add a cat.", "tree", 1)
    others = [
        ImageRequest("Add a dog.", "tree", 1),
        ImageRequest("Add a cat.", "hat", 1),
        ImageRequest("Add a cat.", "tree", 2),
    ]
    first, *rest = images(maker_of(folder).make([base, *others]))
    assert all((first != other).any() for other in rest)


def test_out_of_memory_halves_the_pass_and_loses_no_row(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    maker = maker_of(folder)
    real, sizes = maker._pipe, list[int]()

    class Short:
        def __call__(self, **values: Any) -> Any:
            sizes.append(len(values["prompt"]))
            if len(values["prompt"]) > 2:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")
            return real(**values)

    monkeypatch.setattr(maker, "_pipe", Short())
    assert len(images(maker.make(asked(5)))) == 5
    assert max(sizes) == 4
    assert 2 in sizes

    class Full:
        def __call__(self, **values: Any) -> Any:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(maker, "_pipe", Full())
    found = maker.make(asked(3))
    assert [fault.kind for fault in found if isinstance(fault, Fault)] == ["out_of_memory"] * 3
    assert all(isinstance(fault, Fault) and fault.retryable for fault in found)


def test_nan_blank_and_flagged_pictures_are_faults(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    maker = maker_of(folder)
    values = np.random.default_rng(0).random((4, 8, 8, 3)).astype(np.float32)
    values[0, 0, 0, 0] = np.nan
    values[1] = 0.5

    class Output:
        images, nsfw_content_detected = values, [False, False, True, False]

    monkeypatch.setattr(maker, "_pipe", lambda **_: Output)
    found = maker.make(asked(4))
    assert [getattr(answer, "kind", None) for answer in found] == [
        "not_a_number", "blank_image", "blocked_by_safety_checker", None,
    ]  # fmt: skip


def test_other_pipelines_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"StableDiffusionInstructPix2PixPipeline.*it edits images"):
        maker_of(make_instruct_pix2pix(tmp_path))
    with pytest.raises(FatalError, match="call load"):
        DiffusersMakerConfig(model="made/sd", path=str(folder)).build().make(asked(1))
