"""LPIPS: a learned distance of two pictures (Zhang et al., arXiv 1801.03924), through torchmetrics' network.

NeIn reports it (arXiv 2409.06481, table 2) without saying which backbone; AlexNet is the metric's own default. The heads'
weights come with torchmetrics; the backbone's are torchvision's ImageNet weights, from `path` or fetched by torchvision.
What differs: pairs are taken at their own size, those of one size together.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, Literal

from negscale.backends.hf_weights import TorchConfig, device_of
from negscale.backends.image_features import check_extra, file_digest, read_weights
from negscale.backends.pixels import in_batches, pixel_fault
from negscale.core.backend import Image
from negscale.core.config import Config, Location
from negscale.core.errors import ConfigError, FatalError
from negscale.core.stage import Fault, Resources

SMALLEST_PX = {"alex": 63, "vgg": 16, "squeeze": 32}  # below it a pooling layer has nothing left


class LpipsConfig(Config):
    """Learned perceptual distance; 0 for equal pictures, higher = less alike."""

    kind: Literal["lpips"] = "lpips"
    net: Literal["alex", "vgg", "squeeze"] = "alex"
    path: Location = ""
    """The backbone's state dict as torchvision gives it (.pth or .safetensors), e.g. alexnet-owt-7be5be79.pth; empty =
    torchvision fetches it. Its digest bears identity."""
    run: TorchConfig = TorchConfig()

    def content(self) -> dict[str, Any]:
        """The digest of the backbone at `path`."""
        return {"file": file_digest(self.path, "lpips.path")} if self.path else {}

    def check_access(self) -> None:
        """Raise ConfigError when a library or the file is missing. For plan time."""
        for library in ("torch", "torchvision", "torchmetrics"):
            check_extra(library)
        self.content()

    def resources(self) -> Resources:
        """What a worker needs."""
        return self.run.resources()

    def build(self) -> Lpips:
        """The distance, not loaded yet."""
        return Lpips(self)


class Lpips:
    """Distances of pairs of equal size."""

    exact = False  # a batch mate may change the last bits

    def __init__(self, config: LpipsConfig) -> None:
        self._config = config
        self._model: Any = None
        self._loading = threading.Lock()

    @property
    def id(self) -> str:
        """lpips/NET with the digest of its backbone, or @imagenet."""
        version = f"file-{file_digest(self._config.path, 'lpips.path')}" if self._config.path else "imagenet"
        return f"lpips/{self._config.net}@{version}"

    def load(self) -> None:
        """Load heads and backbone. Raises ConfigError when they cannot be had or do not fit."""
        self._config.check_access()
        # the public function makes its network anew in every call and always fetches the backbone
        from torchmetrics.functional.image.lpips import _LPIPS

        with self._loading:
            if self._model is None:
                config = self._config
                try:
                    network = _LPIPS(net=config.net, pnet_rand=bool(config.path))
                except (OSError, RuntimeError) as error:
                    raise ConfigError(
                        f"lpips: the {config.net} backbone cannot be fetched ({error}); set path"
                    ) from error
                if config.path:
                    _load_backbone(network.net, config)
                self._device = device_of(config.run.device)
                self._model = network.to(self._device).eval()

    def close(self) -> None:
        """Drop the network."""
        with self._loading:
            self._model = None

    def distances(self, a: Sequence[Image], b: Sequence[Image]) -> list[float | Fault]:
        """LPIPS of each pair uint8[H, W, 3] of one size; Fault("small_image") where the backbone cannot take it."""
        if self._model is None:
            raise FatalError("lpips: distances() on a network that is not loaded; call load() first")
        answers: list[Any] = [self._fault(*pair) for pair in zip(a, b, strict=True)]
        groups: dict[tuple[int, ...], list[int]] = {}
        for at, fault in enumerate(answers):
            if fault is None:
                groups.setdefault(a[at].shape, []).append(at)
        for members in groups.values():
            found = in_batches([(a[at], b[at]) for at in members], self._config.run.batch_size, self._batch)
            for at, value in zip(members, found, strict=True):
                answers[at] = value if value == value else Fault("not_a_number", "lpips is NaN")
        return answers

    def _fault(self, a: Image, b: Image) -> Fault | None:
        smallest = SMALLEST_PX[self._config.net]
        if (fault := pixel_fault(a) or pixel_fault(b)) is not None:
            return fault
        if a.shape != b.shape:
            return Fault("bad_pixels", f"expected pictures of one size, got {a.shape[:2]} and {b.shape[:2]}")
        if min(a.shape[:2]) < smallest:
            return Fault("small_image", f"{self._config.net} takes pictures from {smallest} px, got {a.shape[:2]}")
        return None

    def _batch(self, pairs: Sequence[tuple[Image, Image]]) -> list[float]:
        import torch

        a, b = (
            torch.stack([torch.from_numpy(pair[side].transpose(2, 0, 1).copy()) for pair in pairs]).to(self._device)
            for side in (0, 1)
        )
        with torch.inference_mode():
            return self._model(a.float() / 255, b.float() / 255, normalize=True).reshape(-1).tolist()


def _load_backbone(network: Any, config: LpipsConfig) -> None:
    """torchvision's `features.3.weight` is the layer "3" of one of the network's slices."""
    weights = read_weights(config.path, "lpips.path")
    wanted = {name: f"features.{'.'.join(name.split('.')[-2:])}" for name in network.state_dict()}
    absent = sorted(set(wanted.values()) - set(weights))
    if absent:
        raise ConfigError(
            f"lpips.path {config.path!r} is no torchvision state dict of the {config.net} backbone: {absent[0]} is missing"
        )
    try:
        network.load_state_dict({name: weights[source] for name, source in wanted.items()})
    except RuntimeError as error:
        raise ConfigError(f"lpips.path {config.path!r} does not fit the {config.net} backbone: {error}") from error
