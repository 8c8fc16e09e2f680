"""What `negscale eval all` and `negscale eval BENCHMARK` are asked: where files and images lie, and which models."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from omegaconf import OmegaConf
from pydantic import Field, field_validator

from negscale.backends.config import ChatConfig
from negscale.backends.dual_encoders import EncoderConfig
from negscale.backends.negation_scoring import NegationAwareConfig, ProjectionConfig, RepulsionConfig
from negscale.benchmarks.encoding import ThingSizes
from negscale.benchmarks.tuning import SHARE
from negscale.core import config as configs
from negscale.core.config import Config, Location
from negscale.core.errors import ConfigError
from negscale.core.runtime import RuntimeConfig
from negscale.stages.answering import Protocol

EvaluatedModelConfig: TypeAlias = Annotated[
    EncoderConfig | NegationAwareConfig | ChatConfig, Field(discriminator="kind")
]
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_NAMES = re.compile(r"models=\[?([\w.-]+(?:\s*,\s*[\w.-]+)*)\]?")


class _OneModel(Config):
    model: EvaluatedModelConfig


class ChatQuestions(Config):
    """How multimodal LLMs are asked."""

    protocol: Protocol = "letter"
    """letter: which of the texts is true; yes_no: whether each of them is."""
    max_attempts: int = Field(default=3, ge=1)
    """Times that a question is asked, each with a new seed, before an answer that cannot be read counts as missing."""


class SuiteConfig(Config):
    """Evaluate dual encoders and multimodal LLMs on the benchmarks of a data root."""

    data_root: Location
    """Folder or URI with the released files, at any depth; they are found by their names."""
    image_root: Location = ""
    """Folder or URI with the images, at any depth; the names in the files may be their authors' own paths."""
    allow_missing_images: bool = False
    """Score a benchmark of whose images more than half are missing; those items count as missing."""
    models: dict[str, EvaluatedModelConfig] = Field(min_length=1)
    """By a name of yours, which names files: models.NAME.kind=..., or models=[NAME, ...] for configs/models/NAME.yaml."""
    chat: ChatQuestions = ChatQuestions()
    """For those of the models that are multimodal LLMs: they are put choices among texts and 2 x 2 groups."""
    tune_on: str = ""
    """Benchmark of which a split by image tunes training-free scorers; its images are left out of that benchmark's scores.
    Empty = parameters as given."""
    tune_share: float = Field(default=SHARE, gt=0, lt=1)
    """Share of the images that tune."""
    seed: int = 0
    """Of intervals, controls and the tuning split."""
    out: Location = ""
    """Folder of the results; empty = RUN_ROOT/eval/ and what was asked for."""
    store: Location = ""
    """Folder of the embeddings, shared by all evaluations; empty = RUN_ROOT/embeddings."""
    sizes: ThingSizes = ThingSizes()
    """How pictures and texts are divided for the encoder."""
    ranking_block: int = Field(default=1024, ge=1)
    """Queries of one shard where a ranking is sharded."""
    sharded_from: int = Field(default=1_000_000_000, ge=0)
    """Rank by shards from this many pairs of a query and an item on; below, in this process, which takes seconds."""
    runtime: RuntimeConfig = RuntimeConfig()

    @field_validator("models", mode="before")
    @classmethod
    def _each_with_its_own_message(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        found: dict[str, Any] = {}
        for name, model in value.items():
            if not _KEY.fullmatch(str(name)):
                raise ConfigError(f"model name {name!r} cannot name a file; expected letters, digits, '.', '_' or '-'")
            if isinstance(model, Mapping):  # by itself, so that an unknown key is answered with the nearest
                text = OmegaConf.to_yaml(OmegaConf.create({"model": dict(model)}))
                model = configs.load(_OneModel, [(f"models.{name}", text)]).model
            found[str(name)] = model
        return found

    @property
    def store_root(self) -> str:
        """Where embeddings lie."""
        return self.store or f"{self.runtime.run_root.rstrip('/')}/embeddings"


def is_chat(model: EvaluatedModelConfig) -> bool:
    """Whether a model is asked in words; the others compare vectors."""
    return model.kind.endswith("_chat")


def split_model(model: Any) -> tuple[EncoderConfig, RepulsionConfig | ProjectionConfig | None]:
    """The encoder of a model that compares vectors, and the training-free scorer around it; None = cosine."""
    if isinstance(model, NegationAwareConfig):
        return model.encoder, model.scoring
    return model, None


def model_fragments(overrides: list[str]) -> tuple[list[str], list[str]]:
    """(names of fragments, the other overrides): ``models=[a, b]`` stands for ``-c models/a -c models/b``."""
    fragments: list[str] = []
    rest: list[str] = []
    for override in overrides:
        if found := _NAMES.fullmatch(override.strip()):
            fragments += [f"models/{name}" for name in re.split(r"\s*,\s*", found[1])]
        else:
            rest.append(override)
    return fragments, rest
