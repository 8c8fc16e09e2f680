"""Features of pictures for CLIP-I, DINO and FID: transformers' vision models, Inception, dual encoders, plain pixels.

DINO as in MagicBrush's and NeIn's image_quality.py: `dino_vits16`, shorter side to 256 (bicubic), centre 224, ImageNet's mean
and deviation, the last layer's class token. FID after Heusel et al., arXiv 1706.08500: Inception v3 in TensorFlow's weights,
2,048 numbers, through torch-fidelity. What differs: the resize of Inception's input is antialiased (torchmetrics'
default), and every picture is cut or resized on its own, so that no batch mate matters.
"""

from __future__ import annotations

import hashlib
import importlib.util
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from PIL import Image as Pil
from pydantic import Field, model_validator

from negscale.backends.dual_encoders import HfDualEncoderConfig, OpenClipEncoderConfig
from negscale.backends.hf_weights import HfModelConfig, TorchConfig, check_library, device_of, unusable
from negscale.backends.pixels import in_batches, need_pictures
from negscale.core.backend import Image
from negscale.core.config import Config, Location
from negscale.core.errors import ConfigError, FatalError
from negscale.core.stage import Resources

_INCEPTION_URL = (  # torch-fidelity's copy of TensorFlow's weights
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
)
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class HfImageFeaturesConfig(HfModelConfig):
    """A vision transformer of transformers (DINO, DINOv2, ViT): the class token after the last layer."""

    kind: Literal["hf_image_features"] = "hf_image_features"
    model: str = "facebook/dino-vits16"
    resize_px: int = Field(default=256, ge=8)
    """Shorter side after a bicubic resize."""
    crop_px: int = Field(default=224, ge=8)
    """Side of the square cut from the centre."""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    deviation: tuple[float, float, float] = IMAGENET_DEVIATION

    @model_validator(mode="after")
    def _crop_fits(self) -> HfImageFeaturesConfig:
        if self.crop_px > self.resize_px:
            raise ValueError(f"crop_px={self.crop_px} is more than resize_px={self.resize_px}")
        return self

    def build(self) -> HfImageFeatures:
        """The extractor, not loaded yet."""
        return HfImageFeatures(self)


class InceptionFeaturesConfig(Config):
    """FID's Inception v3, 2,048 numbers a picture. Needs torchmetrics and torch-fidelity."""

    kind: Literal["inception_features"] = "inception_features"
    path: Location = ""
    """weights-inception-2015-12-05-6726825d.pth; empty = fetched once into torch's cache. Its digest bears identity."""
    run: TorchConfig = TorchConfig()

    def content(self) -> dict[str, Any]:
        """The digest of the weights at `path`."""
        return {"file": file_digest(self.path, "path")} if self.path else {}

    def check_access(self) -> None:
        """Raise ConfigError when a library or the file is missing. For plan time."""
        for library in ("torch", "torchmetrics", "torch_fidelity"):
            check_extra(library)
        self.content()

    def resources(self) -> Resources:
        """What a worker needs."""
        return self.run.resources()

    def build(self) -> InceptionFeatures:
        """The extractor, not loaded yet."""
        return InceptionFeatures(self)


class PixelFeaturesConfig(Config):
    """Mean colours on a grid: no weights. A stand-in that sees layout and colour; values compare with nothing published."""

    kind: Literal["pixel_features"] = "pixel_features"
    grid: int = Field(default=4, ge=1, le=32)
    """Cells a side: 3 x grid x grid numbers."""

    def resources(self) -> Resources:
        """What a worker needs."""
        return Resources()

    def build(self) -> PixelFeatures:
        """The extractor."""
        return PixelFeatures(self.grid)


ImageFeaturesConfig = Annotated[
    HfImageFeaturesConfig | HfDualEncoderConfig | OpenClipEncoderConfig | InceptionFeaturesConfig | PixelFeaturesConfig,
    Field(discriminator="kind"),
]


class _TorchFeatures(ABC):
    """Loading once, batching, a clear error when used unloaded."""

    exact = False  # a batch mate may change the last bits

    def __init__(self, run: TorchConfig) -> None:
        self._run = run
        self._model: Any = None
        self._loading = threading.Lock()

    def load(self) -> None:
        """Load the network. Raises ConfigError when it cannot be had."""
        check_library("torch")
        with self._loading:
            if self._model is None:
                self._device = device_of(self._run.device)
                self._model = self._load()

    def close(self) -> None:
        """Drop the network."""
        with self._loading:
            self._model = None

    def encode_images(self, images: Sequence[Image]) -> np.ndarray:
        """float32[N, D]. Raises ValueError naming the first array that is no uint8[H, W, 3]."""
        import torch

        if self._model is None:
            raise FatalError(f"{type(self).__name__} is not loaded; call load() first")
        need_pictures(images)

        def batch(part: Sequence[Image]) -> list[np.ndarray]:
            with torch.inference_mode():
                return list(self._features(part).float().cpu().numpy())

        found = in_batches(images, self._run.batch_size, batch)
        return np.stack(found).astype(np.float32, copy=False) if found else np.zeros((0, 0), np.float32)

    @abstractmethod
    def _load(self) -> Any:
        """The network, in evaluation mode on the device."""

    @abstractmethod
    def _features(self, images: Sequence[Image]) -> Any:
        """float[N, D] of one batch, as a tensor."""


class HfImageFeatures(_TorchFeatures):
    """Class tokens through transformers."""

    def __init__(self, config: HfImageFeaturesConfig) -> None:
        super().__init__(config.run)
        self._config = config

    @property
    def id(self) -> str:
        """hf/MODEL@REVISION; sizes are in the config's identity."""
        return self._id

    @cached_property
    def _id(self) -> str:
        return self._config.backend_id()

    def _load(self) -> Any:
        check_library("transformers")
        import torch
        import transformers

        dtype = getattr(torch, self._config.dtype)
        model: Any = self._config.load_with(transformers.AutoModel.from_pretrained, dtype=dtype)
        self._dtype = dtype
        return model.to(self._device).eval()

    def _features(self, images: Sequence[Image]) -> Any:
        import torch

        pixels = torch.stack([torch.from_numpy(self._prepared(image)) for image in images])
        found = self._model(pixel_values=pixels.to(self._device, self._dtype))
        states = getattr(found, "last_hidden_state", None)
        if states is None or states.ndim != 3:
            raise FatalError(f"model {self._config.model} gives no tokens: it is no vision transformer")
        return states[:, 0]

    def _prepared(self, image: Image) -> np.ndarray:
        """float32[3, crop, crop]."""
        config = self._config
        cut = centre_crop(image, config.resize_px, config.crop_px).astype(np.float32) / 255
        scaled = (cut - np.array(config.mean, np.float32)) / np.array(config.deviation, np.float32)
        return np.ascontiguousarray(scaled.transpose(2, 0, 1))


def centre_crop(image: Image, resize_px: int, crop_px: int) -> Image:
    """The centre uint8[crop, crop, 3] of the picture, its shorter side first resized (bicubic), as torchvision does it."""
    height, width = image.shape[:2]
    scale = resize_px / min(height, width)
    size = (resize_px, int(resize_px * height / width)) if width <= height else (int(width * scale), resize_px)
    picture = Pil.fromarray(image).resize(size, Pil.Resampling.BICUBIC)
    left, top = round((picture.width - crop_px) / 2), round((picture.height - crop_px) / 2)
    return np.asarray(picture.crop((left, top, left + crop_px, top + crop_px)))


class InceptionFeatures(_TorchFeatures):
    """FID's features through torchmetrics' network, which torch-fidelity defines."""

    def __init__(self, config: InceptionFeaturesConfig) -> None:
        super().__init__(config.run)
        self._config = config

    @property
    def id(self) -> str:
        """inception-v3-compat with the digest of its weights, or @2015-12-05."""
        version = f"file-{file_digest(self._config.path, 'path')}" if self._config.path else "2015-12-05"
        return f"torch-fidelity/inception-v3-compat@{version}"

    def _load(self) -> Any:
        self._config.check_access()
        from torchmetrics.image.fid import NoTrainInceptionV3

        path = self._config.path or _fetched_inception()
        read_weights(path, "path")  # torch-fidelity unpickles whatever the file holds; this refuses all but tensors
        try:
            network = NoTrainInceptionV3("inception-v3-compat", ["2048"], path)
        except (OSError, RuntimeError) as error:
            raise ConfigError(unusable("inception-v3-compat", path, error)) from error
        return network.to(self._device)

    def _features(self, images: Sequence[Image]) -> Any:
        import torch

        rows = [torch.from_numpy(image.transpose(2, 0, 1).copy())[None].to(self._device) for image in images]
        if len({row.shape for row in rows}) == 1:
            return self._model(torch.cat(rows))
        return torch.cat([self._model(row) for row in rows])


def _fetched_inception() -> str:
    """The weights in torch's cache, fetched when they are not there; the hash is that in the file's name."""
    import torch

    file = Path(torch.hub.get_dir()) / "checkpoints" / _INCEPTION_URL.rpartition("/")[2]
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(_INCEPTION_URL, str(file), hash_prefix="6726825d", progress=False)
        except (OSError, RuntimeError) as error:
            raise ConfigError(f"FID's Inception weights cannot be fetched ({error}); set path to the file") from error
    return str(file)


def read_weights(path: str, key: str) -> dict[str, Any]:
    """The tensors of a .safetensors or .pth file. Raises ConfigError for a file that holds anything else."""
    import torch

    file_digest(path, key)  # a clear error where there is no file
    refused: Any = torch.serialization.pickle.UnpicklingError  # type: ignore[attr-defined]  # what torch.load raises
    try:
        if path.endswith(".safetensors"):
            from safetensors import SafetensorError
            from safetensors.torch import load_file

            refused = SafetensorError
            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, KeyError, EOFError, refused) as error:
        raise ConfigError(f"{key} {path!r} cannot be read as weights: {error}") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{key} {path!r} holds a {type(found).__name__}; expected a state dict")
    return found


class PixelFeatures:
    """Mean colours of the cells of a grid, in 0..1."""

    exact = True

    def __init__(self, grid: int) -> None:
        self._grid = grid

    @property
    def id(self) -> str:
        return f"negscale/pixel_features/{self._grid}@1"

    def load(self) -> None: ...

    def close(self) -> None: ...

    def encode_images(self, images: Sequence[Image]) -> np.ndarray:
        """float32[N, 3 grid grid]; the same for every batch. Raises ValueError for what is no picture."""
        need_pictures(images)
        rows = [self._cells(image) for image in images]
        return np.stack(rows) if rows else np.zeros((0, 3 * self._grid**2), np.float32)

    def _cells(self, image: Image) -> np.ndarray:
        height, width = image.shape[:2]
        whole = np.zeros((height + 1, width + 1, 3), np.int64)  # summed-area table: whole numbers, equal everywhere
        whole[1:, 1:] = image.astype(np.int64).cumsum(0).cumsum(1)
        rows, columns = _edges(height, self._grid), _edges(width, self._grid)
        sums = (
            whole[np.ix_(rows[1], columns[1])] - whole[np.ix_(rows[0], columns[1])]
            - whole[np.ix_(rows[1], columns[0])] + whole[np.ix_(rows[0], columns[0])]
        )  # fmt: skip
        areas = np.outer(rows[1] - rows[0], columns[1] - columns[0])[..., None]
        return (sums / (255 * areas)).astype(np.float32).ravel()


def _edges(length: int, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """First and last + 1 pixel of each cell; at least one pixel, so that tiny pictures have cells that overlap."""
    starts = np.arange(cells) * length // cells
    return starts, np.maximum((np.arange(cells) + 1) * length // cells, starts + 1)


def check_extra(name: str) -> None:
    """Raise ConfigError when a library of the evaluation extra is not installed."""
    if importlib.util.find_spec(name) is None:
        distribution = name.replace("_", "-")
        raise ConfigError(f"this measure needs {name}, which is not installed here; pip install {distribution}")


def file_digest(path: str, key: str) -> str:
    """Twelve hex digits of a file's SHA-256. Raises ConfigError naming the key when there is none."""
    file = Path(path)
    if not file.is_file():
        raise ConfigError(f"{key} {path!r} is no file; expected the network's weights")
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:12]
