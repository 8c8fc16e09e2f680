"""Any instruction editor of diffusers: a pipeline whose call takes `image` and `prompt` and gives pictures.

Covers FluxKontextPipeline, QwenImageEditPipeline, StableDiffusionXLInstructPix2PixPipeline and others alike; what they
take besides is set under `call` and compared with the class's signature when the editor is loaded. Nothing is shared between the
edits of an image here, since each class conditions on it in its own way.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Literal, cast

import numpy as np
from PIL import Image as Pillow
from pydantic import Field, field_validator

from negscale.backends.batched_editor import BLOCKED, NOT_A_NUMBER, BatchedEditor, Finish, Job
from negscale.backends.diffusion_weights import DiffusionModelConfig
from negscale.backends.working_size import Fit, WorkingSize
from negscale.core.backend import Image
from negscale.core.errors import ConfigError
from negscale.core.stage import Fault

OURS = ("image", "prompt", "generator", "output_type", "return_dict")  # set by the editor


class InstructionEditorConfig(DiffusionModelConfig):
    """A pipeline of diffusers that edits an image as a prompt says."""

    kind: Literal["instruction_editor"] = "instruction_editor"
    size_px: int = Field(default=0, ge=0)
    """Long side at which pictures are handed over; 0 = as they are, for pipelines that scale them themselves."""
    multiple_px: Literal[8, 16, 32, 64] = 16
    """With size_px, both sides are multiples of this."""
    fit: Fit = "whole"
    """whole: the edit is scaled back to the picture's own size; crop: the middle at working size."""
    batched: bool = False
    """The pipeline takes lists of images and prompts and gives one picture for each; else it is called once an edit."""
    call: dict[str, bool | int | float | str] = Field(default_factory=dict)
    """Further arguments of the pipeline, e.g. {num_inference_steps: 28, guidance_scale: 2.5}."""

    @field_validator("call")
    @classmethod
    def _leaves_ours_alone(cls, call: dict[str, Any]) -> dict[str, Any]:
        if taken := sorted(set(call) & set(OURS)):
            raise ValueError(f"{', '.join(taken)} of `call` are set by the editor; remove them")
        return call

    def build(self) -> InstructionEditor:
        """The editor, not loaded yet."""
        return InstructionEditor(self)


class InstructionEditor(BatchedEditor):
    """ImageEditor: the pipeline's own call."""

    def __init__(self, config: InstructionEditorConfig) -> None:
        size = WorkingSize(config.size_px, config.multiple_px, config.fit)
        super().__init__(config, size, config.run.batch_size if config.batched else 1)
        self._settings = config
        self._options: dict[str, Any] = {}

    def load(self) -> None:
        """Load the pipeline. Raises ConfigError when it cannot be had or its call does not fit."""
        pipe = self._settings.load_pipeline()
        takes = check_call(type(pipe), self._settings.call)
        # floats, so that NaN is seen; PIL images would hide it
        self._options = {**self._settings.call, **({"output_type": "np"} if "output_type" in takes else {})}
        self._pipe = pipe

    def _start(self, jobs: Sequence[Job]) -> Finish:
        import torch

        pictures = [Pillow.fromarray(job.image) for job in jobs]
        prompts = [job.request.instruction for job in jobs]
        draws = [torch.Generator("cpu").manual_seed(job.request.seed) for job in jobs]
        one = not self._settings.batched
        output = self._pipe(
            image=pictures[0] if one else pictures, prompt=prompts[0] if one else prompts,
            generator=draws[0] if one else draws, **self._options,
        )  # fmt: skip
        made, flags = output.images, getattr(output, "nsfw_content_detected", None)
        if len(made) != len(jobs):
            raise ConfigError(
                f"{type(self._pipe).__name__} gave {len(made)} pictures for {len(jobs)} edits; set batched=false, and leave "
                f"arguments such as num_images_per_prompt alone"
            )

        def finish() -> list[Image | Fault]:
            flagged = [flag is True for flag in flags] if isinstance(flags, (list, tuple)) else [False] * len(made)
            return [BLOCKED if flag else as_pixels(values) for values, flag in zip(made, flagged, strict=True)]

        return finish


def check_call(pipeline: type, call: dict[str, Any]) -> list[str]:
    """The names of the arguments that `pipeline` takes. Raises ConfigError when it is no editor or `call` does not fit."""
    name, kind = pipeline.__name__, cast(Any, pipeline)
    parameters = dict(inspect.signature(kind.__call__).parameters)
    parameters.pop("self", None)
    takes = [p.name for p in parameters.values() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    if missing := [wanted for wanted in ("image", "prompt", "generator") if wanted not in takes]:
        raise ConfigError(
            f"{name} is no instruction editor: its call takes no {', '.join(missing)}. It takes {', '.join(takes)}"
        )
    if unknown := sorted(set(call) - set(takes)):
        raise ConfigError(f"{name} does not take {', '.join(unknown)} (set under `call`); it takes {', '.join(takes)}")
    needed = [p.name for p in parameters.values() if p.name in takes and p.default is p.empty]
    if unset := [wanted for wanted in needed if wanted not in {*OURS, *call}]:
        raise ConfigError(f"{name} also needs {', '.join(unset)}; set them under `call`")
    return takes


def as_pixels(made: Any) -> Image | Fault:
    """uint8[H, W, 3] of what a pipeline gave: floats 0..1, or a PIL image. Fault when it is not made of numbers."""
    if isinstance(made, Pillow.Image):
        return np.asarray(made.convert("RGB"))
    values = np.asarray(made, np.float32)
    if not np.isfinite(values).all():
        return NOT_A_NUMBER
    return (np.clip(values, 0, 1) * 255).round().astype(np.uint8)
