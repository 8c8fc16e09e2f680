"""The rows of the table: which data and which loss, each as a training config of the library.

Steps, batch and optimiser are the same in all rows; the losses and what trains are the papers'. What differs: rates are
those of a model of half a million parameters (the papers' 1e-6 to 1e-8 move nothing here), the image tower is frozen
everywhere, and the question term of NegBench is on unit vectors. With those its published weight (alpha = .99) hardly moves
anything, so there is a second row with both terms alike.

Ours has InfoNCE on negated captions too, but statements weigh most: what the other terms do was measured on other seeds than
the table's. InfoNCE on negated captions teaches to ignore what is denied: in a batch little depends on it, and a text
that ignores it is no better for an image without the object than for one with it. NegBench's questions teach more, but both
deny with verbs with which they never affirm ("does not include"), and retrieval of "The scene includes a dog" pays.
Statements in the same words, of which only the cue and the objects differ, leave no such way; without negated captions beside
them they do not carry over to captions that name a place. `blend` takes the share of the change at which retrieval stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import Field

from negscale.backends.dual_encoders import HfDualEncoderConfig
from negscale.core.config import Config
from negscale.models.freezing import Role
from negscale.science.data import Made
from negscale.training.config import OptimiserConfig, TrainConfig, TrainRuntime
from negscale.training.objectives import (
    ConClipObjective,
    NegationClipObjective,
    NegBenchObjective,
    NegscaleObjective,
    ObjectiveConfig,
)

BASE, FREE, BLIND, OURS = "none", "training_free", "blind", "ours"
_PAPER: tuple[Role, ...] = ("visual", "ln_final")  # NegationCLIP's released script
_TEXT: tuple[Role, ...] = ("visual",)


@dataclass(frozen=True, slots=True)
class Method:
    """A training: runs of captions, runs of questions, loss, what is frozen, how much of it is kept (`TrainConfig.blend`)."""

    data: tuple[str, ...]
    objective: ObjectiveConfig
    questions: tuple[str, ...] = ()
    freeze: tuple[Role, ...] = _TEXT
    blend: float = 1.0


_NEGATIONCLIP = NegationClipObjective(mask_same_image=False)
TRAINED: dict[str, Method] = {
    "rand_p1": Method(("rand_p1",), _NEGATIONCLIP, freeze=_PAPER),
    "p1": Method(("p1",), _NEGATIONCLIP, freeze=_PAPER),
    "p2": Method(("p2",), _NEGATIONCLIP, freeze=_PAPER),
    "p1_p2": Method(("p1", "p2"), _NEGATIONCLIP, freeze=_PAPER),
    "negcap": Method(("negcap",), NegBenchObjective(alpha=1.0)),
    "negcap_negmcq": Method(("negcap",), NegBenchObjective(alpha=0.99), ("negmcq",)),
    "negcap_negmcq_even": Method(("negcap",), NegBenchObjective(alpha=0.5), ("negmcq",)),
    "con_clip": Method(("negcap",), ConClipObjective()),
    OURS: Method(
        ("negcap",),
        NegscaleObjective(caption=0, absence=0.15, hard_negatives=(), question=0, statement=1.0, keep=8.0),
        blend=0.7,
    ),
}
PAPERS = tuple(name for name in TRAINED if name not in (OURS, "rand_p1"))
ORDER = (BASE, *TRAINED, FREE, BLIND)
TITLES = {
    BASE: "no fine-tuning", "rand_p1": "NegationCLIP Rand-P1", "p1": "NegationCLIP P1", "p2": "NegationCLIP P2",
    "p1_p2": "NegationCLIP P1+P2", "negcap": "NegBench NegCap", "negcap_negmcq": "NegBench NegCap+NegMCQ",
    "negcap_negmcq_even": "NegBench, alpha .5",
    "con_clip": "CoN-CLIP loss", OURS: "negscale", FREE: "training-free scorer", BLIND: "strongest blind solver",
}  # fmt: skip


class Tuning(Config):
    """What all trainings share."""

    steps: int = Field(default=500, ge=1)
    batch_rows: int = Field(default=64, ge=2)
    question_rows: int = Field(default=32, ge=1)
    rate: float = Field(default=2e-3, gt=0)


def training(
    method: Method,
    made: Mapping[str, Made],
    model: HfDualEncoderConfig,
    tuning: Tuning,
    seed: int,
    root: str,
    version: str,
) -> TrainConfig:
    """The training of one row."""
    return TrainConfig(
        seed=seed, model=model, data=tuple(made[name].training for name in method.data),
        questions=tuple(made[name].training for name in method.questions), objective=method.objective,
        freeze=method.freeze, blend=method.blend, epochs=1000, max_steps=tuning.steps, batch_rows=tuning.batch_rows,
        question_rows=tuning.question_rows,
        optimiser=OptimiserConfig(
            rate=tuning.rate, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.1, decay_everything=False, warm_up_steps=20,
            schedule="cosine", clamp_logit_scale=True, max_grad_norm=1.0,
        ),
        runtime=TrainRuntime(run_root=root, version=version, device="cpu", checkpoint_every=10**6, report_every=50),
    )  # fmt: skip
