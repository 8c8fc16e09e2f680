"""One step of every objective on made runs, for workers that the tests start."""

from __future__ import annotations

import open_clip
import torch

from negscale.models.freezing import text_encoder_only
from negscale.models.towers import OpenClipTokenizer, TextEncoder
from negscale.training.batches import Collator
from negscale.training.clip_text import step_loss
from negscale.training.config import TrainConfig
from negscale.training.engine import Engine, TorchEngine
from negscale.training.objectives import (
    ConClipObjective,
    NegationClipObjective,
    NegBenchObjective,
    NegClipObjective,
    NegscaleObjective,
    Objective,
)  # fmt: skip
from negscale.training.order import Cursor
from negscale.training.reader import HoldoutConfig, PartVectors, RowBatch, TrainingRunConfig, open_streams
from negscale.training.run import make_engine
from tests.unit.training.tiny_clip import small_open_clip

WIDTH = 32
TOKENIZER = OpenClipTokenizer(open_clip.get_tokenizer("ViT-B-32"), 77)
OBJECTIVES: dict[str, Objective] = {
    "negationclip": NegationClipObjective(), "negbench": NegBenchObjective(alpha=0.7), "negclip": NegClipObjective(),
    "con_clip": ConClipObjective(), "negscale": NegscaleObjective(question=0.5, keep=0.7),
    "statements": NegscaleObjective(caption=0, absence=0.3, hard_negatives=(), question=0, statement=1.0, keep=4.0),
}  # fmt: skip


class RowVectors(PartVectors):
    """A vector of numbers for each image, the same for every row of it."""

    def __init__(self, rows) -> None:
        self._rows = rows

    def read(self, run: int, shard):
        table = self._rows.sources[run].read(shard, None)
        made = []
        for name in table["image_id"].to_pylist():
            generator = torch.Generator().manual_seed(int(name.split("-")[1]))
            made.append(torch.nn.functional.normalize(torch.randn(WIDTH, generator=generator), dim=0))
        return torch.stack(made).numpy()


def gradients(captions: str, questions: str) -> dict[str, torch.Tensor]:
    """ "OBJECTIVE:PARAMETER" -> gradient of one step on 11 rows and 7 questions, in float64."""
    found: dict[str, torch.Tensor] = {}
    for name, objective in OBJECTIVES.items():
        found |= {f"{name}:{key}": value for key, value in one_step(objective, captions, questions).items()}
    ours = OBJECTIVES["negscale"]
    found |= {f"wrong-negscale:{k}": v for k, v in one_step(ours, captions, questions, wrong=True).items()}
    unmasked = ours.model_copy(update={"mask_same_image": False})
    return found | {f"unmasked-negscale:{k}": v for k, v in one_step(unmasked, captions, questions).items()}


def gradients_by(
    engine: str, captions: str, questions: str, precision: str, wrong: bool = False
) -> dict[str, torch.Tensor]:
    """Gradients of one step of our objective by an engine (torch, or a JSON of DeepSpeed's), read off AdamW's first moment.

    wrong: with the error that counts workers twice.
    """
    config = TrainConfig.model_validate({
        "data": [{"uri": captions}], "questions": [{"uri": questions}], "objective": OBJECTIVES["negscale"],
        "freeze": ["visual"], "precision": precision,
        "runtime": {"device": "cpu", "engine": "torch" if engine == "torch" else "deepspeed", "deepspeed": engine},
    })  # fmt: skip
    made = make_engine(config, TextEncoder(small_open_clip()), "cpu")
    _step(made, config.objective, captions, questions, wrong)
    share = 1 - config.optimiser.betas[0]
    moments = made.state().optimiser.items()
    return {key.removesuffix("/exp_avg"): value / share for key, value in moments if key.endswith("/exp_avg")}


def one_step(objective: Objective, captions: str, questions: str, wrong: bool = False) -> dict[str, torch.Tensor]:
    encoder = TextEncoder(small_open_clip())
    engine = TorchEngine(encoder, text_encoder_only(encoder.model, ("visual",)), precision="float64")
    _step(engine, objective, captions, questions, wrong)
    return engine.gradients()


def _step(engine: Engine, objective: Objective, captions: str, questions: str, wrong: bool) -> None:
    collate = Collator(objective, TOKENIZER, WIDTH, seed=1)

    def first(uri: str, columns: tuple[str, ...], kinds: tuple[str, ...]) -> RowBatch:
        rows, _ = open_streams([TrainingRunConfig(uri=uri)], ("image_id", *columns), 0, HoldoutConfig())
        rows.vectors |= {kind: RowVectors(rows) for kind in kinds}
        return next(iter(rows.epoch(Cursor(), 100, engine.world)))

    rows = first(captions, ("caption", "negated_caption", "absent_object"), ("image", "before"))
    asked = first(questions, ("options", "answer"), ("image",)) if objective.uses_questions else None
    loss, _ = step_loss(collate(rows, asked), engine, objective)
    engine.update(loss * engine.world.size if wrong else loss, rate=0.0)
