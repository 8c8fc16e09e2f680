"""Validation of a checkpoint by itself: what a spare worker runs while the others train on."""

from __future__ import annotations

from negscale.backends.hf_weights import device_of
from negscale.core.errors import PlanError
from negscale.models.weights import load_into
from negscale.storage.folder import open_folder
from negscale.training.checkpoint import Checkpoints
from negscale.training.config import TrainConfig
from negscale.training.loading import load_text_encoder
from negscale.training.metrics_log import tensorboard
from negscale.training.reader import ALONE
from negscale.training.run import embed, make_engine, open_data, training_uri
from negscale.training.validation import Probe, encode_texts, note_validation


def validate_checkpoint(name: str, config: TrainConfig, step: int) -> dict[str, float]:
    """The figures of a step, also left in the training's folder and its curves; its checkpoint is let go.

    Empty when the checkpoint is gone: the same question was asked twice, and answered.
    """
    folder = open_folder(training_uri(name, config))
    data = open_data(config)
    if data.held_out is None:
        return {}
    checkpoints = Checkpoints(folder)
    try:
        _, state = checkpoints.load(step)
    except PlanError:
        return {}
    encoder, tokenizer, _ = load_text_encoder(config.model)
    plain = config.model_copy(update={"runtime": config.runtime.model_copy(update={"engine": "torch"})})
    engine = make_engine(plain, encoder, device_of(config.runtime.device))
    load_into(encoder.trainable(), state.trainable, f"the checkpoint of step {step}")
    embed(config, data, ALONE)
    probe = Probe(data.held_out, config.runtime.validation_rows, config.holdout.seed)
    figures = probe.figures(lambda texts: encode_texts(engine, tokenizer, texts))
    note_validation(folder, step, figures)
    checkpoints.unpin(step)
    if (curves := tensorboard(folder, "tensorboard/validation")) is not None:
        for figure, value in figures.items():
            curves.add_scalar(figure, value, step)
        curves.close()
    return figures
