"""Dual encoders (CLIP, SigLIP and their kin) through transformers and open_clip: pictures and texts to unit vectors."""

from __future__ import annotations

import hashlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from PIL import Image as Pil
from pydantic import Field

from negscale.backends.hf_weights import HfModelConfig, TorchConfig, check_library, device_of, unusable
from negscale.backends.pixels import in_batches, need_pictures
from negscale.backends.text_lengths import causal_tower, encode_cut, ends_of_text, token_counts
from negscale.core.backend import Image
from negscale.core.config import Config, Location
from negscale.core.errors import ConfigError, FatalError
from negscale.core.stage import Resources

_SAMPLE_BYTES = 1 << 20


class HfDualEncoderConfig(HfModelConfig):
    """CLIP, SigLIP, SigLIP 2, ALIGN and others with get_image_features and get_text_features in transformers."""

    kind: Literal["hf_dual_encoder"] = "hf_dual_encoder"

    def build(self) -> HfDualEncoder:
        """The encoder, not loaded yet."""
        return HfDualEncoder(self)


class OpenClipEncoderConfig(Config):
    """A model of open_clip: its own zoo, or a checkpoint of one of its architectures."""

    kind: Literal["open_clip_encoder"] = "open_clip_encoder"
    model: str
    """Architecture as open_clip names it, e.g. ViT-B-32, or hf-hub:owner/name."""
    pretrained: str = ""
    """Tag of the weights, e.g. laion2b_s34b_b79k; empty for hf-hub models and with `path`."""
    path: Location = ""
    """Checkpoint file, used instead of the tag; its digest bears identity."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    run: TorchConfig = TorchConfig()

    def content(self) -> dict[str, Any]:
        """The digest of the checkpoint at `path`. Raises ConfigError when there is none."""
        return {"file": _file_digest(self.path)} if self.path else {}

    def check_access(self) -> None:
        """Raise ConfigError when weights are not named, or the file is missing. For plan time."""
        if not (self.path or self.pretrained or self.model.startswith("hf-hub:")):
            raise ConfigError(
                f"model {self.model}: no weights named; set `pretrained` to a tag or `path` to a checkpoint"
            )
        self.content()

    def resources(self) -> Resources:
        """What a worker needs."""
        return self.run.resources()

    def build(self) -> OpenClipEncoder:
        """The encoder, not loaded yet."""
        return OpenClipEncoder(self)


EncoderConfig = Annotated[HfDualEncoderConfig | OpenClipEncoderConfig, Field(discriminator="kind")]


class _TorchEncoder(ABC):
    """Batching and unit length; a subclass says how a batch is encoded."""

    exact = False  # a batch mate may change the last bits

    def __init__(self, run: TorchConfig, dtype: str) -> None:
        self._run, self._dtype_name = run, dtype
        self._model: Any = None
        self._loading = threading.Lock()

    @property
    @abstractmethod
    def id(self) -> str: ...

    def load(self) -> None:
        """Load model, image processing and tokenizer. Raises ConfigError when the model cannot be had."""
        check_library("torch")
        with self._loading:
            if self._model is None:
                import torch

                self._device, self._dtype = device_of(self._run.device), getattr(torch, self._dtype_name)
                self._model = self._load()

    def close(self) -> None:
        """Drop the model."""
        with self._loading:
            self._model = None

    def encode_images(self, images: Sequence[Image]) -> np.ndarray:
        """float32[N, D], unit L2 norm. Raises ValueError naming the first array that is no uint8[H, W, 3]."""
        need_pictures(images)
        return self._rows(images, self._images)

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """float32[N, D], unit L2 norm. Texts beyond the model's length are cut there, as in its training."""
        return self._rows(texts, self._texts)

    def _rows(self, things: Sequence[Any], encode: Any) -> np.ndarray:
        import torch

        if self._model is None:
            raise FatalError(f"{self.id}: an encoder that is not loaded; call load() first")

        def batch(part: Sequence[Any]) -> list[np.ndarray]:
            with torch.inference_mode():
                return list(torch.nn.functional.normalize(encode(part).float(), dim=-1).cpu().numpy())

        found = in_batches(things, self._run.batch_size, batch)
        return np.stack(found).astype(np.float32, copy=False) if found else np.zeros((0, self._width()), np.float32)

    def _width(self) -> int:
        return int(self._texts(["a"]).shape[-1])

    @abstractmethod
    def _load(self) -> Any: ...

    @abstractmethod
    def _images(self, images: Sequence[Image]) -> Any: ...

    @abstractmethod
    def _texts(self, texts: Sequence[str]) -> Any: ...


class HfDualEncoder(_TorchEncoder):
    """DualEncoder through transformers."""

    def __init__(self, config: HfDualEncoderConfig) -> None:
        super().__init__(config.run, config.dtype)
        self._config = config

    @property
    def id(self) -> str:
        """hf/MODEL@REVISION."""
        return self._id

    @cached_property
    def _id(self) -> str:
        return self._config.backend_id()

    def _load(self) -> Any:
        check_library("transformers")
        import transformers

        config = self._config
        model: Any = config.load_with(transformers.AutoModel.from_pretrained, dtype=self._dtype)
        if not (hasattr(model, "get_image_features") and hasattr(model, "get_text_features")):
            raise ConfigError(
                f"model {config.model} is no dual encoder: {type(model).__name__} has no get_image_features"
            )
        self._eyes: Any = config.load_with(transformers.AutoImageProcessor.from_pretrained)
        self._tokenizer: Any = config.load_with(transformers.AutoTokenizer.from_pretrained)
        text = getattr(model.config, "text_config", model.config)
        self._longest = min(int(getattr(text, "max_position_embeddings", 10**6)), self._tokenizer.model_max_length)
        # SigLIP was trained on texts padded to the full length, and has no mask
        self._padding = "max_length" if model.config.model_type.startswith("siglip") else "longest"
        return model.to(self._device).eval()

    def _images(self, images: Sequence[Image]) -> Any:
        inputs = self._eyes(images=list(images), return_tensors="pt")
        moved = {k: v.to(self._device, self._dtype if v.is_floating_point() else None) for k, v in inputs.items()}
        return _features(self._model.get_image_features(**moved))

    def _texts(self, texts: Sequence[str]) -> Any:
        tokens = self._tokenizer(
            list(texts), padding=self._padding, truncation=True, max_length=self._longest, return_tensors="pt"
        )
        wanted = {name: tokens[name].to(self._device) for name in ("input_ids", "attention_mask") if name in tokens}
        return _features(self._model.get_text_features(**wanted))

    def too_long(self, texts: Sequence[str]) -> list[bool]:
        """Which texts have more tokens than the model reads. Needs a loaded model."""
        return [len(ids) > self._longest for ids in self._tokenizer(list(texts), truncation=False)["input_ids"]]


class OpenClipEncoder(_TorchEncoder):
    """DualEncoder through open_clip."""

    def __init__(self, config: OpenClipEncoderConfig) -> None:
        super().__init__(config.run, config.dtype)
        self._config = config

    @property
    def id(self) -> str:
        """open_clip/MODEL@TAG, or @file-DIGEST for a checkpoint file."""
        return self._id

    @cached_property
    def _id(self) -> str:
        config = self._config
        version = f"file-{_file_digest(config.path)}" if config.path else config.pretrained or "hub"
        return f"open_clip/{config.model}@{version}"

    def _load(self) -> Any:
        config = self._config
        config.check_access()
        check_library("open_clip")
        import open_clip

        precision = {"float32": "fp32", "bfloat16": "pure_bf16", "float16": "pure_fp16"}[config.dtype]
        try:
            model, _, transform = open_clip.create_model_and_transforms(
                config.model, pretrained=config.path or config.pretrained or None, precision=precision,
                device=self._device, weights_only=True,
            )  # fmt: skip
            self._tokenizer = open_clip.get_tokenizer(config.model)
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            raise ConfigError(unusable(config.model, config.path, error)) from error
        self._transform: Any = transform
        return model.eval()

    def _images(self, images: Sequence[Image]) -> Any:
        import torch

        pixels = torch.stack([self._transform(Pil.fromarray(image)) for image in images])
        return self._model.encode_image(pixels.to(self._device, self._dtype))

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """float32[N, D], unit L2 norm. Texts beyond the model's length are cut there; like lengths are batched together."""
        if self._model is None or not len(texts) or (tower := causal_tower(self._model)) is None:
            return super().encode_texts(texts)
        tokens: Any = self._tokenizer(list(texts))
        order = ends_of_text(tower, tokens).argsort(stable=True)
        rows = self._rows(tokens[order], lambda part: encode_cut(tower, part.to(self._device)))
        found = np.empty_like(rows)
        found[order.numpy()] = rows
        return found

    def too_long(self, texts: Sequence[str]) -> list[bool]:
        """Which texts have more tokens than the model reads. Needs a loaded model."""
        longest: Any = self._tokenizer.context_length
        return [count > longest for count in token_counts(self._tokenizer, texts)]

    def _texts(self, texts: Sequence[str]) -> Any:
        return self._model.encode_text(self._tokenizer(list(texts)).to(self._device))


def _features(found: Any) -> Any:
    # transformers 5 wraps what 4 gave as a plain tensor
    return found if hasattr(found, "shape") else found.pooler_output


def _file_digest(path: str) -> str:
    """Twelve hex digits over size, first and last MiB of a checkpoint. Raises ConfigError when there is none."""
    file = Path(path)
    if not file.is_file():
        raise ConfigError(f"path {path!r} is no file; expected a checkpoint (.safetensors or .pt) of the architecture")
    digest = hashlib.sha256(str(file.stat().st_size).encode())
    with file.open("rb") as stream:
        digest.update(stream.read(_SAMPLE_BYTES))
        stream.seek(max(0, file.stat().st_size - _SAMPLE_BYTES))
        digest.update(stream.read())
    return digest.hexdigest()[:12]
