"""Models that transformers loads: where their files are, on what they run, what to do when they cannot be had.

One base config for every adapter over transformers. Nothing heavy is imported before `load`; `check_access` fetches the
model's config.json alone (kilobytes), so that a plan fails where the run would.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import Field, field_validator

from negscale.backends.vllm_install import weights_digest
from negscale.core.config import Config, Location
from negscale.core.errors import ConfigError, IllModelError
from negscale.core.stage import Resources

HELP = 'pip install "negscale[models]"'
_T = TypeVar("_T")


class TorchConfig(Config):
    """How a model that runs in the worker's own process uses the machine. Bears no identity."""

    bears_identity: ClassVar[bool] = False

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` = a GPU when the worker has one."""
    gpus: float = Field(default=0.0, ge=0)
    """Share of a GPU that a worker asks for, e.g. 0.25 for four workers a GPU; 0 = no GPU."""
    cpus: float = Field(default=1.0, gt=0)
    """CPU cores that a worker holds."""
    batch_size: int = Field(default=8, ge=1)
    """Images of one forward pass."""
    offline: bool = False
    """Never ask the hub: use what `path` or the hub's local cache holds. HF_HUB_OFFLINE=1 does so for all models."""

    def resources(self) -> Resources:
        """What a worker needs."""
        return Resources(cpus=self.cpus, gpus=self.gpus)


class HfModelConfig(Config):
    """A model of the Hugging Face hub, or a folder in its layout."""

    model: str
    """The model's name on the hub, owner/name. Bears identity also when `path` says where the files are."""
    revision: str = "main"
    """Commit, tag or branch on the hub; a commit pins the weights."""
    path: Location = ""
    """Folder that holds the model's files, used instead of the hub; a digest of the files bears identity."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Type of weights and activations; the published scores are those of float32 unless the card says otherwise."""
    run: TorchConfig = TorchConfig()

    @field_validator("model")
    @classmethod
    def _is_a_name(cls, model: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?", model):
            raise ValueError("expected a name as on the hub, owner/name; the folder of a local model goes into `path`")
        return model

    def content(self) -> dict[str, Any]:
        """A digest of the files at `path`; nothing when the weights come from the hub."""
        return {"files": weights_digest(self.path)} if self.path else {}

    def check_access(self) -> None:
        """Raise ConfigError when the model is missing, or its licence is not accepted. For plan time."""
        self.model_facts()

    def resources(self) -> Resources:
        """What a worker needs."""
        return self.run.resources()

    def model_facts(self) -> dict[str, Any]:
        """The model's config.json: its type, its class names. Raises ConfigError when it cannot be had."""
        return _facts(self.model, self.revision, self.path, self.run.offline)

    def backend_id(self, library: str = "hf") -> str:
        """hf/MODEL@REVISION, or hf/MODEL@files-DIGEST for a model in a folder."""
        return f"{library}/{self.model}@{f'files-{weights_digest(self.path)}' if self.path else self.revision}"

    def need_type(self, types: tuple[str, ...], what: str) -> str:
        """The model's type. Raises ConfigError when `types` is given and it is none of them."""
        found = str(self.model_facts().get("model_type", ""))
        if types and found not in types:
            raise ConfigError(f"model {self.model} is of type {found!r}; {what} needs one of {', '.join(types)}")
        return found

    def load_with(self, loader: Callable[..., _T], **options: Any) -> _T:
        """``loader(place, ...)`` (a ``from_pretrained``) with its errors put into words. Raises ConfigError, IllModelError."""
        where: dict[str, Any] = {"local_files_only": self.run.offline or bool(self.path)}
        if not self.path:
            where["revision"] = self.revision
        try:
            return loader(self.path or self.model, **where, **options)
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise ConfigError(unusable(self.model, self.path, error)) from error
        except (RuntimeError, MemoryError) as error:
            raise IllModelError(f"model {self.model} could not be loaded: {error}") from error


@lru_cache(64)
def _facts(model: str, revision: str, path: str, offline: bool) -> dict[str, Any]:
    if path:
        weights_digest(path)  # a clear error where there is no model
        file = Path(path) / "config.json"
    else:
        check_library("huggingface_hub")
        import huggingface_hub as hub

        try:
            file = Path(hub.hf_hub_download(model, "config.json", revision=revision, local_files_only=offline))
        except (OSError, ValueError) as error:  # hub errors are OSErrors, bad names ValueErrors
            raise ConfigError(unusable(model, "", error)) from error
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(unusable(model, path, error)) from error


def check_library(name: str) -> None:
    """Raise ConfigError when a library of this extra is not installed."""
    if importlib.util.find_spec(name) is None:
        raise ConfigError(f"this backend needs {name}, which is not installed here; {HELP}")


def unusable(model: str, path: str, error: Exception) -> str:
    """What to do about a model that cannot be had."""
    where = f"the folder {path!r}" if path else "the hub"
    why = str(error).strip().rstrip(".")
    return (
        f"cannot use model {model} from {where}: {why}. When access is restricted, accept the licence on the model's page "
        f"and set HF_TOKEN; behind a mirror set HF_ENDPOINT; without a network set `path` to a local folder."
    )


def device_of(wish: str) -> str:
    """The torch device for `wish` (auto, cpu, cuda). Raises ConfigError for a GPU that is not there."""
    import torch

    found = torch.cuda.is_available()
    if wish == "cuda" and not found:
        raise ConfigError(
            "run.device=cuda, but this worker sees no GPU: set run.gpus (Ray hides GPUs nobody asked for)"
        )
    return "cuda" if found and wish != "cpu" else "cpu"
