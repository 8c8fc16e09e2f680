"""The editor that is trained: a UNet that sees noisy latents and the image's own (Brooks et al., arXiv 2211.09800, section 3.2).

Starts from an InstructPix2Pix pipeline, or from a text-to-image UNet whose first layer gets input channels of zeros, so
that the first step gives what the old network gave. Autoencoder and text tower are frozen and stay outside the engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from negscale.backends.diffusion_weights import check_diffusion_library
from negscale.core.errors import ConfigError
from negscale.models.freezing import Line
from negscale.training.editor_config import EditorStartConfig, LoraSettings

Inputs = tuple[Tensor, Tensor, Tensor, Tensor]  # noisy [B, C, h, w], image [B, C, h, w], times [B], states [B, T, W]


class EditorUnet(nn.Module):
    """What an engine trains: the UNet's prediction for noisy latents beside those of the image."""

    def __init__(self, unet: Any) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, inputs: Inputs) -> Tensor:
        """[B, C, h, w]: the noise, or what else the scheduler wants predicted."""
        noisy, image, times, states = inputs
        return self.unet(torch.cat([noisy, image], 1), times, encoder_hidden_states=states, return_dict=False)[0]

    def trainable(self) -> dict[str, nn.Parameter]:
        """Parameters that learn, by name."""
        return {name: parameter for name, parameter in self.unet.named_parameters() if parameter.requires_grad}

    def table(self) -> tuple[Line, ...]:
        """What trains and decays: matrices and kernels decay, norms and biases do not."""
        return tuple(Line(name, "block", True, parameter.ndim >= 2) for name, parameter in self.trainable().items())


@dataclass(slots=True)
class EditorParts:
    """A pipeline taken apart. `unet` learns, the rest is frozen."""

    unet: Any
    vae: Any
    words: Any
    tokenizer: Any
    scheduler: Any  # DDPM, with the pipeline's noise levels
    sampler: Any  # the scheduler that the pipeline came with
    adapted: bool  # whether the UNet has adapters

    @property
    def latent_shape(self) -> tuple[int, int]:
        """(channels, pixels a latent)."""
        return self.vae.config.latent_channels, 2 ** (len(self.vae.config.block_out_channels) - 1)


def load_editor(
    config: EditorStartConfig, lora: LoraSettings | None = None, gradient_checkpointing: bool = False, seed: int = 0
) -> EditorParts:
    """The parts of the pipeline, ready to train, float32 on the CPU. Raises ConfigError when it does not fit.

    seed: of the adapters' first weights.
    """
    import diffusers

    # weights as checkpoints and exports keep them, and free to change
    run = config.run.model_copy(update={"layout": "contiguous", "compile": False})
    pipe = config.model_copy(update={"dtype": "float32", "run": run}).load_pipeline()
    library: Any = diffusers
    scheduler = library.DDPMScheduler.from_config(pipe.scheduler.config)
    if scheduler.config.prediction_type not in ("epsilon", "v_prediction"):
        raise ConfigError(
            f"pipeline {config.model} predicts {scheduler.config.prediction_type!r}; editor training knows epsilon and "
            f"v_prediction"
        )
    channels = pipe.vae.config.latent_channels
    for part in (pipe.vae, pipe.text_encoder, pipe.unet):
        part.requires_grad_(False).eval()
    narrow = pipe.unet.config.in_channels == channels
    if narrow:
        widen(pipe.unet, 2 * channels)
    elif pipe.unet.config.in_channels != 2 * channels:
        raise ConfigError(
            f"the UNet of {config.model} takes {pipe.unet.config.in_channels} channels; expected {channels} (text to image) "
            f"or {2 * channels} (InstructPix2Pix)"
        )
    if lora is None:
        pipe.unet.requires_grad_(True)
    else:
        _adapt(pipe.unet, lora, seed)
        if narrow:  # input channels of zeros would never learn to see the image
            pipe.unet.conv_in.requires_grad_(True)
    if gradient_checkpointing:
        pipe.unet.enable_gradient_checkpointing()
    return EditorParts(
        pipe.unet, pipe.vae, pipe.text_encoder, pipe.tokenizer, scheduler, pipe.scheduler, lora is not None
    )


def widen(unet: Any, channels: int) -> None:
    """Give the first layer of `unet` input channels of zeros up to `channels`, in place."""
    old = unet.conv_in
    with torch.no_grad():
        new = nn.Conv2d(channels, old.out_channels, old.kernel_size, old.stride, old.padding)
        new.weight.zero_()
        new.weight[:, : old.in_channels].copy_(old.weight)
        new.bias.copy_(old.bias)  # pyright: ignore[reportOptionalMemberAccess] - a Conv2d has one unless told otherwise
    unet.conv_in = new.requires_grad_(False)
    unet.register_to_config(in_channels=channels)


def _adapt(unet: Any, lora: LoraSettings, seed: int) -> None:
    check_diffusion_library("peft")
    from peft import LoraConfig

    names = [name for name, _ in unet.named_modules()]
    if unknown := [end for end in lora.modules if not any(n == end or n.endswith(f".{end}") for n in names)]:
        raise ConfigError(
            f"lora.modules: the UNet has no layer whose name ends in {unknown[0]!r}; e.g. to_q, to_k, to_v"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet.add_adapter(
            LoraConfig(
                r=lora.rank, lora_alpha=lora.alpha, init_lora_weights="gaussian", target_modules=list(lora.modules)
            )
        )


def image_latents(vae: Any, pixels: Tensor) -> Tensor:
    """[N, C, h, w] of pixels float[N, 3, H, W] in -1..1: the posterior's mean, unscaled."""
    return vae.encode(pixels.to(vae.dtype)).latent_dist.mode()


def text_states(parts: EditorParts, texts: Sequence[str], device: str) -> Tensor:
    """float[N, T, W] that the UNet attends to; what does not fit the text tower's length is cut off."""
    tokenizer = parts.tokenizer
    ids = tokenizer(
        list(texts), padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
    )
    mask = ids.attention_mask.to(device) if getattr(parts.words.config, "use_attention_mask", False) else None
    return parts.words(ids.input_ids.to(device), attention_mask=mask)[0]
