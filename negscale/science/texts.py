"""Every text that a training reads: the columns of its runs, and the hard negatives that it makes of them."""

from __future__ import annotations

from collections.abc import Iterator

from negscale.training.config import TrainConfig
from negscale.training.objectives import MAKERS, made_text
from negscale.training.reader import TrainingRunConfig

_EPOCHS = 3  # made texts are drawn anew each epoch: some of the draws stand for all


def trained_texts(config: TrainConfig) -> Iterator[str]:
    """Captions, made texts of the first epochs, and options, row by row."""
    objective = config.objective
    for run in config.data:
        for row in _rows(run):
            for name in objective.texts:
                if name not in MAKERS:
                    yield row[name]
                    continue
                for epoch in range(_EPOCHS):
                    made = made_text(name, row, config.seed, epoch)
                    if made:
                        yield made
    for run in config.questions:
        for row in _rows(run):
            yield from row["options"]


def _rows(run: TrainingRunConfig) -> Iterator[dict]:
    source = run.build()
    for shard in source.list().shards:
        yield from source.read(shard, None).to_pylist()
