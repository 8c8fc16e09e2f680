"""`ImageMaker` through diffusers: any text-to-image pipeline that takes a prompt and a negative prompt.

HardNeg-Syn (NegBench, arXiv 2501.09425, section D.1) renders its scenes with Stable Diffusion, which version and settings
is not published; the defaults are those of diffusers for it. What differs: every picture has its own seed on the CPU's
generator, so that it does not depend on its batch mates, and a pass that does not fit into memory is halved.
"""

from __future__ import annotations

import gc
import inspect
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
from pydantic import Field

from negscale.backends.diffusion_weights import DiffusionModelConfig
from negscale.backends.micro_batches import run_halving, slices
from negscale.core.backend import Image, ImageRequest
from negscale.core.errors import ConfigError, FatalError
from negscale.core.stage import Fault

NEEDS = (
    "prompt",
    "negative_prompt",
    "num_inference_steps",
    "guidance_scale",
    "height",
    "width",
    "generator",
    "output_type",
)


class DiffusersMakerConfig(DiffusionModelConfig):
    """A text-to-image pipeline of diffusers."""

    kind: Literal["diffusers_maker"] = "diffusers_maker"
    height_px: int = Field(default=512, ge=16, multiple_of=8)
    """Of the pictures; models are made for one size (Stable Diffusion 1 and 2: 512, XL: 1024)."""
    width_px: int = Field(default=512, ge=16, multiple_of=8)
    steps: int = Field(default=50, ge=1)
    """Denoising steps."""
    guidance: float = Field(default=7.5, ge=1)
    """Classifier-free guidance; the negative prompt takes the place of the empty one and needs a value above 1."""

    def build(self) -> DiffusersMaker:
        """The maker, not loaded yet."""
        return DiffusersMaker(self)


class DiffusersMaker:
    """`ImageMaker`; exact on one kind of device and with one `run.batch_size`, unless memory ran out."""

    exact = True

    def __init__(self, config: DiffusersMakerConfig) -> None:
        self._config = config
        self._pipe: Any = None

    @property
    def id(self) -> str:
        """diffusers/MODEL@REVISION; sizes, steps and guidance are in the config's identity."""
        return self._id

    @cached_property
    def _id(self) -> str:
        return self._config.backend_id()

    def load(self) -> None:
        """Load the pipeline. Raises ConfigError when it cannot be had or does not make pictures from two texts."""
        pipe = self._config.load_pipeline()
        takes = inspect.signature(pipe.__call__).parameters
        missing = [name for name in NEEDS if name not in takes]
        if missing or "image" in takes:
            what = "it edits images" if "image" in takes else f"it takes no {missing[0]}"
            raise ConfigError(
                f"pipeline {self._config.model} is a {type(pipe).__name__}, which does not make pictures from a prompt and "
                f"a negative prompt ({what}); choose a text-to-image pipeline such as StableDiffusionPipeline"
            )
        self._pipe = pipe

    def close(self) -> None:
        """Drop the pipeline."""
        self._pipe = None
        self._free()

    def make(self, requests: Sequence[ImageRequest]) -> list[Image | Fault]:
        """uint8[height_px, width_px, 3] per request.

        Faults: not_a_number, blank_image, blocked_by_safety_checker, out_of_memory.
        """
        if self._pipe is None:
            raise FatalError(f"{self.id}: make() on a maker that is not loaded; call load() first")
        answers: list[Image | Fault] = []
        limit = self._config.run.batch_size
        for rows in slices(range(len(requests)), limit):
            for done in run_halving(list(rows), limit, lambda some: self._run([requests[n] for n in some]), self._free):
                if done.result is None:
                    answers.append(
                        Fault("out_of_memory", f"one picture does not fit: {done.error[:300]}", retryable=True)
                    )
                else:
                    answers += done.result[: len(done.rows)]
        return answers

    def _run(self, requests: Sequence[ImageRequest]) -> list[Image | Fault]:
        import torch

        config = self._config
        made = self._pipe(
            prompt=[request.prompt for request in requests],
            negative_prompt=[request.negative_prompt for request in requests],
            num_inference_steps=config.steps, guidance_scale=config.guidance, height=config.height_px, width=config.width_px,
            generator=[torch.Generator("cpu").manual_seed(request.seed) for request in requests], output_type="np",
        )  # fmt: skip
        flagged = getattr(made, "nsfw_content_detected", None) or [False] * len(requests)
        return [_picture(values, bad) for values, bad in zip(made.images, flagged, strict=True)]

    def _free(self) -> None:
        gc.collect()
        import torch

        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _picture(values: np.ndarray, flagged: bool) -> Image | Fault:
    if flagged:
        return Fault("blocked_by_safety_checker", "the pipeline's safety checker flagged the picture", retryable=True)
    if not np.isfinite(values).all():
        return Fault("not_a_number", "the picture is NaN; set dtype=bfloat16 or float32", retryable=True)
    image = (values.astype(np.float64) * 255).round().clip(0, 255).astype(np.uint8)
    if (image == image[0, 0]).all():
        return Fault("blank_image", "every pixel of the picture has one colour; another seed may do", retryable=True)
    return image
