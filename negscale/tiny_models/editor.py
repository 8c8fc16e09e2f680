"""An InstructPix2Pix of about a million parameters: paints an object into a drawn scene or takes it away.

The network of Brooks et al. (arXiv 2211.09800) in small: an autoencoder, a CLIP text tower, and a UNet that sees the
noisy latents and the image's own, trained with text and image dropped now and then so that both guidances work. Saved as
a diffusers folder. What differs: nothing is pre-trained, so the text tower learns with the UNet; the network predicts
velocity (Salimans and Ho, arXiv 2202.00512), which few steps of training suffice for; and places that an edit
changes count more, since nine tenths of a picture are copied.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from negscale.core.rng import rng_for
from negscale.datasets.toy_scenes import SCENE_PX, Placed, draw
from negscale.tiny_models.edit_lessons import EditLesson, all_instructions, edit_lesson
from negscale.tiny_models.lessons import train_world
from negscale.tiny_models.training import Pause, Schedule, fit, seeded
from negscale.tiny_models.vision import pixel_values


class Round(NamedTuple):
    """A part of the denoiser's training, on lessons of its own."""

    schedule: Schedule
    lessons: int  # how many, their latents made once; noise makes each visit another


AUTOENCODER = Schedule(steps=1600, rate=4e-3, weight_decay=0.0)
DENOISER = (
    Round(Schedule(steps=1600, rate=1.2e-3), 3000),
    Round(Schedule(steps=2127, rate=1e-3, flat=1.0), 6000),
    Round(Schedule(steps=400, rate=1e-3), 1500),
    Round(Schedule(steps=800, rate=8e-4), 3000),
)
MAX_LENGTH = 24
_VOCABULARY = 1024
_PIECES, _SCENES, _LESSONS = 16, 3, 16  # of one step: pieces or pictures for the autoencoder, edits for the denoiser
_IN_PIECES = 0.75  # share of the steps in which the autoencoder sees pieces around objects, not whole pictures
_PIECE_PX = 32
_SPREAD, _SMALL = 0.05, 1e-4  # noise on the latents, so that near ones mean near pictures, and what keeps them small
_NO_TEXT, _NO_IMAGE, _NEITHER = 0.08, 0.04, 0.04  # the paper drops each alone, and both, in 5 % of the cases
_CHANGED = 3.0  # how much more a changed place counts
_CHECKED = 64  # pictures from which the latents' mean and spread are taken


def instruction_tokenizer() -> Any:
    """A `CLIPTokenizer` with the words of the lessons; any other word is spelt in pieces."""
    from tokenizers import Tokenizer, models, trainers
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    ends = ["<|startoftext|>", "<|endoftext|>"]
    frame: Any = CLIPTokenizer().backend_tokenizer
    inner: Any = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    inner.normalizer, inner.pre_tokenizer = frame.normalizer, frame.pre_tokenizer
    letters = ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY, special_tokens=[*ends, *sorted(letters), *(f"{letter}</w>" for letter in sorted(letters))],
        end_of_word_suffix="</w>", show_progress=False,
    )  # fmt: skip
    inner.train_from_iterator(all_instructions(), trainer)
    learnt = json.loads(inner.to_str())["model"]
    merges: Any = [tuple(pair) for pair in learnt["merges"]]
    return CLIPTokenizer(vocab=learnt["vocab"], merges=merges, model_max_length=MAX_LENGTH)


def new_autoencoder() -> Any:
    """An untrained `AutoencoderKL`: 96 x 96 pixels to latents of 4 x 24 x 24."""
    return _diffusers().AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(8, 16, 32), layers_per_block=1, latent_channels=4, norm_num_groups=4, sample_size=SCENE_PX,
        scaling_factor=1.0, mid_block_add_attention=False,
    )  # fmt: skip


def new_denoiser() -> Any:
    """An untrained `UNet2DConditionModel` over 4 noisy and 4 image channels."""
    return _diffusers().UNet2DConditionModel(
        sample_size=SCENE_PX // 4, in_channels=8, out_channels=4, block_out_channels=(32, 64, 64), layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=64, attention_head_dim=4, norm_num_groups=8,
    )  # fmt: skip


def new_text_tower(tokenizer: Any) -> Any:
    """An untrained `CLIPTextModel` of 2 layers, width 64."""
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=MAX_LENGTH, projection_dim=64, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    return CLIPTextModel(config)


def train(
    folder: Path, seed: int = 0, start: Path | None = None, autoencoder: Schedule = AUTOENCODER,
    denoiser: Sequence[Round] = DENOISER, pause: Pause | None = None,
) -> float:  # fmt: skip
    """Train, from nothing or from the pipeline in `start`, and save a diffusers folder; returns minutes.

    With `pause` the training may stop before its end (`Paused`) and goes on where it stopped when called again.
    """
    torch = seeded(seed)
    world = train_world(seed)
    if start:
        tokenizer, vae, unet, words = _parts(start)
        minutes = 0.0
    else:
        tokenizer, vae = instruction_tokenizer(), new_autoencoder()
        unet, words = new_denoiser(), new_text_tower(tokenizer)
        minutes = train_autoencoder(vae, autoencoder, world, pause)
        normalise_latents(vae, world)
    for number in range(len(denoiser)):
        minutes += train_denoiser(unet, words, vae, tokenizer, denoiser[: number + 1], world, pause)
    pipeline = new_pipeline(tokenizer, vae, unet, words)
    pipeline.to(torch.float16).save_pretrained(folder)
    pipeline.to(torch.float32)
    return minutes


def train_autoencoder(vae: Any, schedule: Schedule, world: int, pause: Pause | None = None) -> float:
    """Teach the autoencoder to give pictures back; returns minutes."""
    import torch

    def loss_of(step: int) -> Any:
        torch.manual_seed(world + step)
        pixels = _pieces(world, step) if step < _IN_PIECES * schedule.steps else _pictures(world, step)
        latents = vae.encode(pixels).latent_dist.mode()
        again = vae.decode(latents + _SPREAD * torch.randn_like(latents)).sample
        return (again - pixels).abs().mean() + (again - pixels).square().mean() + _SMALL * latents.square().mean()

    return fit(vae.parameters(), loss_of, schedule, "editor, autoencoder", pause)


def _pieces(world: int, step: int) -> Any:
    """float32[16, 3, 32, 32]: what lies around objects, where detail is."""
    found = []
    rng = rng_for(world, "pieces", step)
    for index in range(step * _PIECES, (step + 1) * _PIECES):
        what = edit_lesson(world, index).after if index % 4 else edit_lesson(world, index).before
        at = what.objects[int(rng.integers(len(what.objects)))] if what.objects else Placed("", 32, 32)
        last = SCENE_PX - _PIECE_PX
        left, top = (int(np.clip(place + rng.integers(-6, 7), 0, last)) for place in (at.x_px, at.y_px))
        found.append(draw(what)[top : top + _PIECE_PX, left : left + _PIECE_PX])
    return pixel_values(found)


def _pictures(world: int, step: int) -> Any:
    lessons = [edit_lesson(world, index) for index in range(step * _SCENES, (step + 1) * _SCENES)]
    return pixel_values([lesson.pictures()[1] for lesson in lessons])


def normalise_latents(vae: Any, world: int) -> None:
    """Give every latent channel mean 0 and spread 1, by the 1 x 1 convolutions beside it; the UNet sees the image's unscaled."""
    import torch

    with torch.no_grad():
        pixels = pixel_values([edit_lesson(world, index).pictures()[1] for index in range(_CHECKED)])
        latents = vae.encode(pixels).latent_dist.mean
        mean, spread = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
        count = len(mean)
        vae.quant_conv.weight[:count] /= spread[:, None, None, None]
        vae.quant_conv.bias[:count].sub_(mean).div_(spread)
        vae.quant_conv.bias[count:] -= 2 * spread.log()
        after = vae.post_quant_conv
        after.bias += (after.weight[:, :, 0, 0] * mean).sum(1)
        after.weight *= spread[None, :, None, None]


def train_denoiser(
    unet: Any, words: Any, vae: Any, tokenizer: Any, rounds: Sequence[Round], world: int, pause: Pause | None = None
) -> float:
    """The last of `rounds`: UNet and text tower learn together to edit; the autoencoder stays. Returns minutes."""
    import torch

    *earlier, (schedule, count) = rounds
    first_step, first_lesson = sum(past.schedule.steps for past in earlier), sum(past.lessons for past in earlier)
    scheduler = new_scheduler("DDPMScheduler")
    vae.requires_grad_(False).eval()
    lessons = [edit_lesson(world, first_lesson + index) for index in range(min(count, schedule.steps * _LESSONS))]

    @cache  # at the first step: a round that has ended needs none
    def latents() -> tuple[Any, Any]:
        before, after = zip(*(lesson.pictures() for lesson in lessons), strict=True)
        return _latents(vae, before), _latents(vae, after)

    def loss_of(step: int) -> Any:
        torch.manual_seed(world + first_step + step)
        chosen = torch.randint(0, len(lessons), (_LESSONS,))
        before, after = (side[chosen] for side in latents())
        times = torch.randint(0, scheduler.config.num_train_timesteps, (_LESSONS,))
        noise = torch.randn_like(after)
        noisy = scheduler.add_noise(after, noise, times)
        chance = torch.rand(_LESSONS)
        no_text = chance < _NO_TEXT + _NEITHER
        no_image = (chance >= _NO_TEXT) & (chance < _NO_TEXT + _NEITHER + _NO_IMAGE)
        said = states(words, tokenizer, _texts([lessons[n] for n in chosen.tolist()], no_text.tolist()))
        seen = before * ~no_image[:, None, None, None]
        found = unet(torch.cat([noisy, seen], 1), times, encoder_hidden_states=said).sample
        weight = 1 + _CHANGED * (after - before).abs().mean(1, keepdim=True).clamp(max=1)
        return (weight * (found - scheduler.get_velocity(after, noise, times)).square()).mean()

    learnt = [*unet.train().parameters(), *words.train().parameters()]
    title = f"editor, denoiser {len(rounds)}" if earlier else "editor, denoiser"
    return fit(learnt, loss_of, schedule, title, pause)


def states(words: Any, tokenizer: Any, texts: list[str]) -> Any:
    """float[N, tokens, width]: what the UNet attends to."""
    ids = tokenizer(texts, padding="max_length", max_length=MAX_LENGTH, truncation=True, return_tensors="pt").input_ids
    return words(ids).last_hidden_state


def new_scheduler(name: str) -> Any:
    """A scheduler of diffusers with the noise levels of Stable Diffusion, over velocities."""
    return getattr(_diffusers(), name)(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type="v_prediction"
    )


def _texts(lessons: list[EditLesson], dropped: list[bool]) -> list[str]:
    return ["" if drop else lesson.instruction for lesson, drop in zip(lessons, dropped, strict=True)]


def _latents(vae: Any, pictures: Sequence[np.ndarray]) -> Any:
    import torch

    with torch.no_grad():
        parts = [
            vae.encode(pixel_values(list(pictures[at : at + 64]))).latent_dist.mode()
            for at in range(0, len(pictures), 64)
        ]
    return torch.cat(parts)


def new_pipeline(tokenizer: Any, vae: Any, unet: Any, words: Any) -> Any:
    """The parts as the pipeline that is saved."""
    return _diffusers().StableDiffusionInstructPix2PixPipeline(
        vae=vae.eval(), text_encoder=words.eval(), tokenizer=tokenizer, unet=unet.eval(),
        scheduler=new_scheduler("EulerAncestralDiscreteScheduler"), safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip


def _parts(folder: Path) -> tuple[Any, Any, Any, Any]:
    import torch

    found = _diffusers().StableDiffusionInstructPix2PixPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    return found.tokenizer, found.vae, found.unet, found.text_encoder


def _diffusers() -> Any:
    import diffusers  # its names are loaded when first asked for: type checkers do not see them

    return diffusers
