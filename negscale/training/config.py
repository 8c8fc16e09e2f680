"""The config of a text-encoder training: what is learnt (bears identity) and where it runs (does not)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from negscale.backends.dual_encoders import EncoderConfig, HfDualEncoderConfig
from negscale.core.config import Config, Location
from negscale.models.freezing import Role
from negscale.training.objectives import NegationClipObjective, ObjectiveConfig
from negscale.training.order import WINDOW_ROWS
from negscale.training.reader import HoldoutConfig, TrainingRunConfig


class OptimiserConfig(Config):
    """AdamW and its schedule. The defaults are NegationCLIP's released script, which is PyTorch's."""

    rate: float = Field(default=1e-6, gt=0)
    """Highest learning rate."""
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = Field(default=1e-8, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    decay_everything: bool = True
    """Decay norms, biases, embeddings and the logit scale too, as released; else matrices of blocks and projection."""
    warm_up_steps: int = Field(default=0, ge=0)
    schedule: Literal["constant", "cosine"] = "constant"
    clamp_logit_scale: bool = False
    """Keep the factor of the logits within [1, 100], as CLIP's own training does."""
    max_grad_norm: float | None = Field(default=None, gt=0)


class RayTrainConfig(Config):
    """Workers of a training on Ray Train. Bears no identity: a training goes on with another number of them."""

    bears_identity: ClassVar[bool] = False

    workers: int | tuple[int, int] = 1
    """How many, or [min, max]: with nodes that come and go the training restarts from its checkpoint at the new size."""
    cpus: int = Field(default=1, ge=0)
    """CPUs of one worker."""
    gpus: float = Field(default=0.0, ge=0)
    """GPUs of one worker."""
    resources: dict[str, float] = Field(default_factory=dict)
    """Custom resources of one worker, e.g. {spot: 1}."""
    address: str = ""
    """`auto`, a `ray://` or `host:port` address; empty: RAY_ADDRESS when set, else a local cluster."""
    local_cpus: int | None = Field(default=None, ge=1)
    """Logical CPUs of a local cluster; default: the machine's."""
    wait_for_nodes_s: float = Field(default=0.0, ge=0)
    """How long an autoscaler may take to bring the nodes; 0 = they must be there."""
    resize_every_s: float = Field(default=60.0, ge=0)
    """How often an elastic training looks for more nodes."""
    max_failures: int = Field(default=20, ge=-1)
    """Dead workers after which the training gives up; -1 = never. Announced preemptions do not count."""
    preemption_grace_s: float = Field(default=30.0, ge=0)
    """Time that the workers of other nodes get beyond a preemption's deadline to write a checkpoint."""
    timeout_s: int = Field(default=1800, ge=1)
    """A collective that takes longer counts as hung."""

    @model_validator(mode="after")
    def _some(self) -> RayTrainConfig:
        least, most = (self.workers, self.workers) if isinstance(self.workers, int) else self.workers
        if not 1 <= least <= most:
            raise ValueError(f"workers={self.workers}: expected a number from 1 on, or [min, max] with 1 <= min <= max")
        return self


class TrainRuntime(Config):
    """Where a training runs and what it writes down. Bears no identity."""

    bears_identity: ClassVar[bool] = False

    executor: Literal["local", "ray"] = "local"
    """`local` is this process; `ray` is Ray Train, on as many workers as `ray.workers` says."""
    ray: RayTrainConfig = RayTrainConfig()
    engine: Literal["torch", "deepspeed"] = "torch"
    """`torch` is PyTorch DDP. Checkpoints of one engine go on with the other."""
    deepspeed: str = "zero2"
    """DeepSpeed's JSON: a name below configs/deepspeed, or a path that ends in .json."""
    validation: Literal["auto", "here", "off"] = "auto"
    """Retrieval, Retrieval-Neg and balanced choice on held-out rows after every epoch: on a worker of its own where Ray has
    one to spare (auto), or on the workers that train (here)."""
    validation_rows: int = Field(default=2000, ge=2)
    """Held-out rows of it, at the most."""
    metrics_callback: str = ""
    """`package.module:function`, called with {step, epoch, figures...} every few seconds of a training on Ray, and in this
    process at every report."""
    run_root: Location = "runs"
    """Folder or URI below which trainings lie as train/NAME/VERSION."""
    version: str = Field(default="dev", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    vectors: Location = ""
    """Folder or URI that keeps the vectors of images, shared by trainings; empty = run_root/vectors."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    report_every: int = Field(default=10, ge=1)
    """Steps between two lines of metrics.jsonl."""
    checkpoint_every: int = Field(default=500, ge=1)
    """Steps between two checkpoints; one more at the end of every epoch."""
    keep_checkpoints: int = Field(default=2, ge=1)
    """Newest checkpoints that stay, beside the best."""


class TrainConfig(Config):
    """One text-encoder training."""

    seed: int = 42
    """Of the order of rows and of the made texts; NegationCLIP's."""
    model: EncoderConfig = HfDualEncoderConfig(model="openai/clip-vit-base-patch32")
    """The CLIP to start from, as the encoder that evaluates it is named."""
    data: tuple[TrainingRunConfig, ...] = ()
    """Finished runs: data='[{uri: runs/negationclip/p1/dev}]'."""
    questions: tuple[TrainingRunConfig, ...] = ()
    """Finished runs of multiple-choice questions, for objectives with an MCQ term."""
    objective: ObjectiveConfig = NegationClipObjective(mask_same_image=False)
    freeze: tuple[Role, ...] = ("visual", "ln_final")
    """Roles of parameters that do not train; `visual` is among them."""
    holdout: HoldoutConfig = HoldoutConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    epochs: int = Field(default=15, ge=1)
    batch_rows: int = Field(default=512, ge=2)
    """Rows of a step over all workers."""
    question_rows: int = Field(default=512, ge=1)
    """Questions of a step over all workers."""
    max_steps: int | None = Field(default=None, ge=1)
    """End after so many steps."""
    window_rows: int = Field(default=WINDOW_ROWS, ge=1)
    """Rows that are shuffled together; bounds the reader's memory."""
    precision: Literal["float32", "bfloat16", "float64"] = "float32"
    """bfloat16 computes in bf16 and keeps float32 weights."""
    blend: float = Field(default=1.0, gt=0, le=1)
    """Share of what was learnt that exports hold: weights are `blend` times the trained plus the rest of those at the start
    (WiSE-FT, arXiv 2109.01903). Below 1 the tasks of before are kept better; checkpoints are whole."""
    runtime: TrainRuntime = TrainRuntime()

    @model_validator(mode="after")
    def _fits(self) -> TrainConfig:
        if self.objective.uses_questions and not self.questions:
            raise ValueError(
                f"objective {self.objective.kind} has a question term: name a run of questions, questions='[{{uri: RUN}}]', or "
                f"set its weight to 0 (alpha=1 for negbench)"
            )
        if self.questions and not self.objective.uses_questions:
            raise ValueError(f"objective {self.objective.kind} has no question term; leave `questions` out")
        return self
