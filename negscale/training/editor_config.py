"""The config of an editor training: what is learnt (bears identity) and where it runs (does not).

NeIn's paper (arXiv 2409.06481, section 3.3) fine-tunes InstructPix2Pix and MagicBrush and names no numbers. The defaults are
those of MagicBrush's `finetune.yaml`: 5e-5 after 1,000 steps of warm-up, batch 16, 256 px, mirrored in half of the
cases, EMA, text tower and autoencoder frozen; conditioning dropout is InstructPix2Pix's (arXiv 2211.09800, section 3.2.1).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from negscale.backends.diffusion_weights import DiffusionModelConfig, DiffusionRunConfig
from negscale.core.config import Config, Location
from negscale.core.errors import ConfigError
from negscale.training.config import TrainRuntime
from negscale.training.reader import TrainingRunConfig

EDITORS = ("StableDiffusionInstructPix2PixPipeline", "StableDiffusionPipeline")
InstructionKind = Literal["negative", "affirmative", "keep", "two_objects"]


class EditorStartConfig(DiffusionModelConfig):
    """The pipeline to start from: InstructPix2Pix, MagicBrush in diffusers' layout, or a text-to-image Stable Diffusion."""

    model: str = "timbrooks/instruct-pix2pix"
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Left at float32: weights that learn in half precision lose small steps. `precision` says what is computed in."""
    run: DiffusionRunConfig = DiffusionRunConfig(device="cpu")  # pyright: ignore[reportIncompatibleVariableOverride]

    def check_access(self) -> None:
        """Also raises ConfigError when the pipeline is no Stable Diffusion of a UNet."""
        super().check_access()
        if self.class_name() not in EDITORS:
            raise ConfigError(
                f"pipeline {self.model} is a {self.class_name()}; editor training starts from one of {', '.join(EDITORS)}"
            )


class DropoutConfig(Config):
    """Conditions left out, so that both guidances work; the shares do not overlap."""

    text: float = Field(default=0.05, ge=0, le=1)
    """The instruction alone."""
    image: float = Field(default=0.05, ge=0, le=1)
    """The image alone."""
    both: float = Field(default=0.05, ge=0, le=1)

    @model_validator(mode="after")
    def _at_most_all(self) -> DropoutConfig:
        if self.text + self.image + self.both > 1:
            raise ValueError(f"text + image + both = {self.text + self.image + self.both:g}; at most 1 can be left out")
        return self


class InstructionShares(Config):
    """How often each instruction of a row is what the editor learns from; a row without one goes to the others."""

    negative: float = Field(default=1.0, ge=0)
    """The denial; the object goes. NeIn's only lesson."""
    affirmative: float = Field(default=0.0, ge=0)
    """The control that affirms the object; the image stays."""
    keep: float = Field(default=0.0, ge=0)
    """A denial of what is in neither image; the image stays."""
    two_objects: float = Field(default=0.0, ge=0)
    """One object affirmed, the added one denied; the added one goes."""

    @model_validator(mode="after")
    def _something(self) -> InstructionShares:
        if not any(self.shares().values()):
            raise ValueError("every share is 0: nothing to learn from; NeIn's paper has negative=1")
        return self

    def shares(self) -> dict[InstructionKind, float]:
        """Kind -> share."""
        kinds: dict[InstructionKind, float] = {
            "negative": self.negative, "affirmative": self.affirmative, "keep": self.keep, "two_objects": self.two_objects,
        }  # fmt: skip
        return kinds


class LoraSettings(Config):
    """Low-rank adapters in place of the UNet's own weights (PEFT); they are merged when exported."""

    rank: int = Field(default=16, ge=1)
    alpha: int = Field(default=16, ge=1)
    """The adapters' output counts alpha / rank."""
    modules: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0")
    """Ends of the names of the layers that get one."""


class EditOptimiserConfig(Config):
    """AdamW and its schedule."""

    rate: float = Field(default=5e-5, gt=0)
    """Highest learning rate."""
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = Field(default=1e-8, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    """Of matrices and kernels; norms and biases do not decay."""
    warm_up_steps: int = Field(default=1000, ge=0)
    schedule: Literal["constant", "cosine"] = "constant"
    max_grad_norm: float | None = Field(default=1.0, gt=0)


class EditRunConfig(TrainingRunConfig):
    """A finished run of nein, nein_edit or nein_filter; `image_root` is where its `image` column lies."""

    edited_root: Location = ""
    """Folder that `image_with_object` is relative to; empty = uri. Of a nein_filter run: the nein_edit run's folder."""


class EditRuntime(TrainRuntime):
    """Where an editor training runs."""

    gradient_checkpointing: bool = False
    """Compute activations twice instead of keeping them: less memory, about a third slower."""


class EditTrainConfig(Config):
    """One editor training."""

    seed: int = 0
    """Of the order of rows and of every draw; what is drawn for a place in an epoch depends on neither workers nor kills."""
    model: EditorStartConfig = EditorStartConfig()
    data: tuple[EditRunConfig, ...] = ()
    """Finished runs of nein: data='[{uri: runs/nein/dev, image_root: FOLDER}]'. Rows of their eval split are held out."""
    instructions: InstructionShares = InstructionShares()
    dropout: DropoutConfig = DropoutConfig()
    size_px: int = Field(default=256, ge=16)
    """Both sides at which pictures are learnt; they are scaled to it whatever their form, as diffusers' script does."""
    mirror: float = Field(default=0.5, ge=0, le=1)
    """Share of pairs that are mirrored left to right."""
    precomputed: bool = False
    """Make every image's latents once and keep them beside the runs' vectors; then nothing is mirrored. Latents of
    256 px take 16 kB an image."""
    lora: LoraSettings | None = None
    """Adapters instead of all weights."""
    ema: float | None = Field(default=0.9999, gt=0, lt=1)
    """Decay of the averaged weights, which export takes; null = none are kept."""
    optimiser: EditOptimiserConfig = EditOptimiserConfig()
    epochs: int = Field(default=10, ge=1)
    batch_rows: int = Field(default=16, ge=1)
    """Rows of a step over all workers."""
    max_steps: int | None = Field(default=None, ge=1)
    """End after so many steps."""
    held_out_rows: int = Field(default=256, ge=0)
    """Rows of the eval split whose loss is taken at the end of every epoch; 0 = none."""
    window_rows: int = Field(default=4096, ge=1)
    """Rows that are shuffled together; bounds the reader's memory, which holds two windows of latents."""
    precision: Literal["float32", "bfloat16", "float64"] = "float32"
    """bfloat16 computes in bf16 and keeps float32 weights."""
    runtime: EditRuntime = EditRuntime()

    @model_validator(mode="after")
    def _fits(self) -> EditTrainConfig:
        if self.precomputed and self.mirror:
            raise ValueError("precomputed latents cannot be mirrored: set mirror=0, or precomputed=false")
        return self
