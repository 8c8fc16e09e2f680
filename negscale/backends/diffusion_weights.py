"""Pipelines that diffusers loads: where their files are, how they use the machine, what to do when they cannot be had.

Nothing heavy is imported before `load_pipeline`; `check_access` reads the pipeline's model_index.json alone (kilobytes). No
code from the hub is run: a pipeline must be a class of diffusers.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from negscale.backends.hf_weights import HfModelConfig, TorchConfig, check_library, device_of, unusable
from negscale.backends.vllm_install import weights_digest
from negscale.core.errors import ConfigError
from negscale.core.stage import Resources

HELP = 'pip install "negscale[diffusion]"'
INDEX = "model_index.json"
CALL_ROWS = 256  # edits of one call: pictures of one size are gathered from as many, so that few passes are filled up


class DiffusionRunConfig(TorchConfig):
    """How a diffusion pipeline uses the machine. Bears no identity; a pass of another size may change the last bits."""

    batch_size: int = Field(default=8, ge=1)
    """Edits of one pass; with guidance the UNet sees three times as many. Out of memory, a pass is halved."""
    attention: Literal["sdpa", "plain", "sliced"] = "sdpa"
    """sdpa: torch's fused kernels; plain: the UNet's as whole matrix products, whose memory grows with the square of the
    picture, worth a try on CPU for pictures of some 100 px and with compile; sliced: head by head, slower, for GPUs where
    memory is short."""
    autoencoder: Literal["whole", "sliced", "tiled"] = "whole"
    """sliced: pictures are decoded one at a time; tiled: in overlapping tiles, which may leave faint seams."""
    layout: Literal["contiguous", "channels_last"] = "contiguous"
    """How UNet and autoencoder keep their weights. Which is faster depends on network, type and device: measure. On CPU,
    channels_last gave a 1.4 M UNet 1.3 times the edits in float32, and no more in bfloat16 or at 70 M."""
    compile: bool = False
    """Have torch compile the denoising network, its weights frozen into the code. A worker's first pass then takes a minute,
    and so does the first of each other picture size; a pass of the tiny editor's UNet in bfloat16 on CPU, attention plain,
    then takes about half the time."""
    offload: Literal["none", "model", "sequential"] = "none"
    """model: only the network at work is on the GPU; sequential: only the layer at work, several times slower."""

    def resources(self) -> Resources:
        """What a worker needs."""
        return Resources(cpus=self.cpus, gpus=self.gpus, batch_rows=CALL_ROWS)


class DiffusionModelConfig(HfModelConfig):
    """A diffusers pipeline of the Hugging Face hub, or a folder in its layout."""

    dtype: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    """Type of weights and activations; latents and guidance are float32 where the loop is ours."""
    variant: str = ""
    """Files of a variant, e.g. `fp16`; smaller downloads."""
    safety_checker: bool = False
    """Run the pipeline's own safety checker and refuse what it flags; off, as in NeIn's script: it flags many harmless edits."""
    run: DiffusionRunConfig = DiffusionRunConfig()  # pyright: ignore[reportIncompatibleVariableOverride] - frozen

    @model_validator(mode="after")
    def _offload_needs_a_gpu(self) -> DiffusionModelConfig:
        if self.run.offload != "none" and self.run.device == "cpu":
            raise ValueError(
                f"run.offload={self.run.offload} moves weights to and from a GPU; with device=cpu leave it at none"
            )
        if self.run.offload != "none" and self.run.compile:
            raise ValueError(f"run.compile freezes weights that run.offload={self.run.offload} would move; choose one")
        return self

    def content(self) -> dict[str, Any]:
        """A digest of the files at `path`; nothing when the weights come from the hub."""
        return {"files": pipeline_digest(self.path)} if self.path else {}

    def backend_id(self, library: str = "diffusers") -> str:
        """diffusers/MODEL@REVISION, or diffusers/MODEL@files-DIGEST for a pipeline in a folder."""
        return f"{library}/{self.model}@{f'files-{pipeline_digest(self.path)}' if self.path else self.revision}"

    def model_facts(self) -> dict[str, Any]:
        """The pipeline's model_index.json: its class and its parts. Raises ConfigError when it cannot be had."""
        return _index(self.model, self.revision, self.path, self.run.offline)

    def check_access(self) -> None:
        """Raise ConfigError when diffusers or the pipeline is missing, or its licence is not accepted. For plan time."""
        check_diffusion_library("diffusers")
        if self.run.offload != "none":
            check_diffusion_library("accelerate")
        self.class_name()
        if self.safety_checker and self.model_facts().get("safety_checker", [None])[0] is None:
            raise ConfigError(f"safety_checker=true, but pipeline {self.model} has none; set it to false")

    def class_name(self) -> str:
        """The pipeline's class in diffusers. Raises ConfigError when the pipeline brings its own code."""
        name = self.model_facts().get("_class_name")
        if not isinstance(name, str):
            raise ConfigError(
                f"pipeline {self.model} brings its own code ({name!r}), which is not run; choose a pipeline whose class is "
                f"part of diffusers"
            )
        return name

    def load_pipeline(self) -> Any:
        """The pipeline on its device, in its dtype. Raises ConfigError, IllModelError."""
        self.check_access()
        check_library("torch")
        import diffusers
        import torch

        device, name = device_of(self.run.device), self.class_name()
        kind = getattr(diffusers, name, None)
        if kind is None:
            raise ConfigError(
                f"pipeline {self.model} is a {name}, which diffusers {diffusers.__version__} does not have"
            )
        options: dict[str, Any] = {"torch_dtype": getattr(torch, self.dtype)}
        if self.variant:
            options["variant"] = self.variant
        if not self.safety_checker and "safety_checker" in self.model_facts():
            options |= {"safety_checker": None, "requires_safety_checker": False}
        diffusers.utils.logging.disable_progress_bar()
        pipeline: Any = self.load_with(kind.from_pretrained, **options)
        pipeline.set_progress_bar_config(disable=True)
        self._fit_memory(pipeline)
        placed = self._placed(pipeline, device)
        if self.run.compile:
            _compile(placed)
        return placed

    def _fit_memory(self, pipeline: Any) -> None:
        import torch

        if self.run.attention == "sliced":
            pipeline.enable_attention_slicing()
        vae, unet = getattr(pipeline, "vae", None), getattr(pipeline, "unet", None)
        if self.run.attention == "plain" and unet is not None:
            from diffusers.models.attention_processor import AttnProcessor

            unet.set_attn_processor(AttnProcessor())
        if self.run.layout == "channels_last":
            for network in (unet, vae):
                if network is not None:
                    network.to(memory_format=torch.channels_last)
        if vae is not None and self.run.autoencoder == "sliced":
            vae.enable_slicing()
        if vae is not None and self.run.autoencoder == "tiled":
            vae.enable_tiling()

    def _placed(self, pipeline: Any, device: str) -> Any:
        if self.run.offload == "none":
            return pipeline.to(device)
        if device == "cpu":
            raise ConfigError(
                f"run.offload={self.run.offload}, but this worker sees no GPU: set run.gpus, or offload=none"
            )
        if self.run.offload == "model":
            pipeline.enable_model_cpu_offload()
        else:
            pipeline.enable_sequential_cpu_offload()
        return pipeline


def _compile(pipeline: Any) -> None:
    """Compile the network that runs at every step. Raises ConfigError where there is nothing to compile with."""
    compilers = (os.environ.get("CXX", ""), "g++", "clang++", "c++")
    if not any(name and shutil.which(name) for name in compilers):
        raise ConfigError("run.compile=true needs a C++ compiler (g++ or clang++), and none is installed here")
    network = getattr(pipeline, "unet", None) or pipeline.transformer
    # sizes are few and passes equal: a code for each shape, and weights that never change become constants of it
    network.compile(dynamic=False, options={"freezing": True})


@lru_cache(64)
def _index(model: str, revision: str, path: str, offline: bool) -> dict[str, Any]:
    if path:
        file = Path(path) / INDEX
        if not file.is_file():
            raise ConfigError(
                f"path {path!r} is not a folder with a diffusers pipeline: expected {INDEX} in it. A single checkpoint file "
                f"(.ckpt, .safetensors) is converted once by diffusers' scripts/convert_original_stable_diffusion_to_diffusers.py"
            )
    else:
        check_diffusion_library("huggingface_hub")
        import huggingface_hub as hub

        try:
            file = Path(hub.hf_hub_download(model, INDEX, revision=revision, local_files_only=offline))
        except (OSError, ValueError) as error:  # hub errors are OSErrors, bad names ValueErrors
            raise ConfigError(unusable(model, "", error)) from error
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(unusable(model, path, error)) from error


def pipeline_digest(path: str) -> str:
    """Twelve hex digits that change with the files of a pipeline's folder; of weights, what `weights_digest` reads.

    Raises ConfigError when the folder holds no pipeline.
    """
    parts = [name for name, value in _index("", "", path, True).items() if isinstance(value, list) and value[0]]
    digest = hashlib.sha256((Path(path) / INDEX).read_bytes())
    for part in sorted(parts):
        folder = Path(path, part)
        if (folder / "config.json").is_file():
            digest.update(f"{part} {weights_digest(str(folder))}".encode())
            continue
        for file in sorted(folder.glob("*")):  # tokenizers, schedulers, image processors: small files
            digest.update(f"{part}/{file.name} {file.stat().st_size} ".encode() + file.read_bytes())
    return digest.hexdigest()[:12]


def check_diffusion_library(name: str) -> None:
    """Raise ConfigError when a library of this extra is not installed."""
    if importlib.util.find_spec(name) is None:
        raise ConfigError(f"this editor needs {name}, which is not installed here; {HELP}")
