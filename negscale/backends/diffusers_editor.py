"""Editors of InstructPix2Pix's form, as NeIn makes its images with (arXiv 2409.06481, `edit_cli_generation.py`).

Defaults are NeIn's: 512 px, 100 steps of ancestral Euler, text guidance 7.5, image guidance 1.5. Weights of InstructPix2Pix,
of MagicBrush (in diffusers' layout) or of a fine-tuning of ours load alike. What differs: a seed per edit instead
of an unseeded one per image, edits of an image in one pass, and the whole picture comes back in its own size
(`fit`). k-diffusion's sampler is diffusers' EulerAncestralDiscreteScheduler.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

from pydantic import Field

from negscale.backends.batched_editor import BLOCKED, NOT_A_NUMBER, BatchedEditor, Finish, Job, Memo
from negscale.backends.diffusion_weights import DiffusionModelConfig
from negscale.backends.ip2p import InstructPix2PixLoop
from negscale.backends.working_size import Fit, WorkingSize
from negscale.core.backend import Image
from negscale.core.errors import ConfigError
from negscale.core.stage import Fault

PIPELINE = "StableDiffusionInstructPix2PixPipeline"
SCHEDULERS = {  # k-diffusion spaces its steps from the last training step to the first
    "euler_ancestral": ("EulerAncestralDiscreteScheduler", {"timestep_spacing": "linspace"}),
    "euler": ("EulerDiscreteScheduler", {"timestep_spacing": "linspace"}),
    "ddim": ("DDIMScheduler", {}),
    "dpm_solver": ("DPMSolverMultistepScheduler", {}),
}
_IMAGES, _TEXTS = 64, 512  # latents and text states that are kept: some megabytes


class DiffusersEditorConfig(DiffusionModelConfig):
    """InstructPix2Pix, or weights of its form."""

    kind: Literal["diffusers_editor"] = "diffusers_editor"
    model: str = "timbrooks/instruct-pix2pix"
    size_px: int = Field(default=512, ge=8)
    """Long side at which pictures are worked on."""
    multiple_px: Literal[8, 16, 32, 64] = 64
    """Both sides are multiples of this; 64 is what the networks were trained on, 8 keeps the picture's proportions."""
    fit: Fit = "whole"
    """whole: the picture is scaled to multiples and its edit back to its own size, aligned with it; crop: the middle at
    working size, as the released script does."""
    steps: int = Field(default=100, ge=1)
    """Denoising steps."""
    scheduler: Literal["euler_ancestral", "euler", "ddim", "dpm_solver", "as_saved"] = "euler_ancestral"
    """Sampler; as_saved: the one that comes with the weights."""
    text_guidance: float = Field(default=7.5, ge=1)
    """How much the edit is to follow the instruction (s_T)."""
    image_guidance: float = Field(default=1.5, ge=1)
    """How much the edit is to resemble the image (s_I)."""

    def build(self) -> DiffusersEditor:
        """The editor, not loaded yet."""
        return DiffusersEditor(self)

    def check_access(self) -> None:
        """Also raises ConfigError when the pipeline is of another form."""
        super().check_access()
        if self.class_name() != PIPELINE:
            raise ConfigError(
                f"pipeline {self.model} is a {self.class_name()}; diffusers_editor runs {PIPELINE}; for other editors of "
                f"diffusers use kind=instruction_editor"
            )


class DiffusersEditor(BatchedEditor):
    """ImageEditor: InstructPix2Pix with its two guidances."""

    def __init__(self, config: DiffusersEditorConfig) -> None:
        super().__init__(config, WorkingSize(config.size_px, config.multiple_px, config.fit), config.run.batch_size)
        self._settings = config

    def load(self) -> None:
        """Load the pipeline and set its scheduler. Raises ConfigError when it cannot be had or does not fit."""
        import diffusers
        import torch

        config = self._settings
        pipe = config.load_pipeline()
        if config.scheduler != "as_saved":
            name, options = SCHEDULERS[config.scheduler]
            pipe.scheduler = getattr(diffusers, name).from_config(pipe.scheduler.config, **options)
        latent, seen = pipe.vae.config.latent_channels, pipe.unet.config.in_channels
        if seen != 2 * latent:
            raise ConfigError(
                f"the UNet of {config.model} takes {seen} channels; an InstructPix2Pix takes {2 * latent} (noise and image)"
            )
        if config.multiple_px % pipe.vae_scale_factor or config.size_px % config.multiple_px:
            raise ConfigError(
                f"size_px={config.size_px} must be a multiple of multiple_px={config.multiple_px}, and that of the "
                f"autoencoder's {pipe.vae_scale_factor} pixels a latent"
            )
        device = "cuda" if config.run.offload != "none" else pipe.device.type
        self._loop = InstructPix2PixLoop(pipe, device, config.steps, config.text_guidance, config.image_guidance)
        self._latents, self._states = Memo[Any](_IMAGES), Memo[Any](_TEXTS)
        with torch.inference_mode():
            self._no_text = self._loop.text_states("")
        self._pipe = pipe

    def close(self) -> None:
        """Drop the pipeline and what was kept of images and texts."""
        self._loop = self._latents = self._states = self._no_text = None
        super().close()

    def _start(self, jobs: Sequence[Job]) -> Finish:
        import torch

        loop: Any = self._loop
        latents: Any = self._latents
        states: Any = self._states
        with torch.inference_mode():
            # one by one: what comes out does not depend on the batch, and is there for the next edit of the image
            images = [latents.get(job.image_key, partial(loop.image_latents, job.image)) for job in jobs]
            said = [job.request.instruction for job in jobs]
            texts = [states.get(text, partial(loop.text_states, text)) for text in said]
            seeds = [job.request.seed for job in jobs]
            made = loop.denoise(torch.cat(images), torch.cat(texts), self._no_text, seeds)
            pixels, sound = loop.decode(made)
            flagged = self._flagged(pixels)
        self._pipe.maybe_free_model_hooks()

        def finish() -> list[Image | Fault]:
            # waits for the device on this thread, while the next pass is being launched on the other
            home, good = pixels.cpu().numpy(), sound.cpu().tolist()
            return [
                NOT_A_NUMBER if not ok else BLOCKED if blocked else image
                for image, ok, blocked in zip(home, good, flagged, strict=True)
            ]

        return finish

    def _flagged(self, pixels: Any) -> list[bool]:
        if self._pipe.safety_checker is None:
            return [False] * len(pixels)
        values = pixels.permute(0, 3, 1, 2).float() / 127.5 - 1
        device, dtype = pixels.device, self._pipe.unet.dtype
        return [bool(flag) for flag in self._pipe.run_safety_checker(values, device, dtype)[1]]
