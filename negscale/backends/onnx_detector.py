"""COCO detectors as ONNX files on the CPU, picture by picture, so that an answer never depends on its batch mates.

The verifier for real photographs without a GPU: NegationCLIP (arXiv 2501.10913, section 3) asks LLaVA-1.6 instead.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from negscale.backends.onnx_layouts import LAYOUTS, LayoutName, expected_outputs, prepare, suppress
from negscale.backends.vocabulary import Vocabulary, outside
from negscale.core.backend import Detection, Image
from negscale.core.config import Config, Location
from negscale.core.errors import ConfigError
from negscale.core.stage import Fault
from negscale.language.nouns import COCO_80

QUIET = 3  # ONNX Runtime's log level "error"


class OnnxDetectorConfig(Config):
    """A detector exported to ONNX with a fixed input size and COCO's 80 classes (or those of `vocabulary`)."""

    kind: Literal["onnx_detector"] = "onnx_detector"
    model: Location = ""
    """The .onnx file."""
    layout: LayoutName
    """Which project's export it is: pre-processing and box decoding follow."""
    vocabulary: Literal["coco80"] | tuple[str, ...] = "coco80"
    """Class names in the order of the network's outputs."""
    min_score: float = 1e-4
    """Boxes below are not reported; far lower than for drawing boxes, because absence is ranked by low scores."""
    nms_overlap: float = 0.5
    """Of two boxes of one class that overlap more (intersection over union), the weaker is dropped."""
    boxes_per_class: int = 100
    """Candidates of a class that enter non-maximum suppression."""

    def content(self) -> dict[str, Any]:
        """The hash of the weights."""
        return {"weights_sha256": weights_sha256(self.model, self.layout)}

    def classes(self) -> tuple[str, ...]:
        """The class names spelled out."""
        return COCO_80 if self.vocabulary == "coco80" else self.vocabulary

    def build(self, threads: int = 1) -> OnnxDetector:
        """The detector, not loaded yet."""
        return OnnxDetector(self, threads)


def weights_sha256(model: str, layout: str) -> str:
    """Hash of an .onnx file. Raises ConfigError that names the key when there is none."""
    key = f"model (layout {layout!r})"
    if not model:
        raise ConfigError(f"{key} is empty; set it to an .onnx file, e.g. verifier.detectors.{layout}.model=PATH")
    path = Path(model)
    if not path.is_file():
        raise ConfigError(
            f"{key}: {model!r} is no file; export the {layout} detector to ONNX, or correct "
            f"verifier.detectors.{layout}.model"
        )
    facts = path.stat()
    return _sha256(str(path.resolve()), facts.st_size, facts.st_mtime_ns)


@lru_cache(32)
def _sha256(path: str, size: int, changed_ns: int) -> str:
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


class OnnxDetector:
    """Detector on ONNX Runtime. Exact: pictures run one by one (equal CPUs give equal bits)."""

    exact = True

    def __init__(self, config: OnnxDetectorConfig, threads: int = 1) -> None:
        self.vocabulary: tuple[str, ...] | None = config.classes()
        self._config = config
        self._threads = threads
        self._layout = LAYOUTS[config.layout]
        self._classes = Vocabulary(config.classes())
        self._numbers = {name: number for number, name in enumerate(config.classes())}
        self._session: Any = None
        self._input = ""
        self._size = (0, 0)

    @property
    def id(self) -> str:
        """Layout, file stem and start of the weights' sha256: "onnx/yolox/yolox_nano@e8af..."."""
        digest = weights_sha256(self._config.model, self._config.layout)
        return f"onnx/{self._config.layout}/{Path(self._config.model).stem}@{digest[:12]}"

    def load(self) -> None:
        """Open the session. Raises ConfigError when the file is no export of the configured layout."""
        import onnxruntime as ort

        # its exceptions share no base but Exception, and its compiled module has no stubs
        onnx_errors: Any = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")

        weights_sha256(self._config.model, self._config.layout)  # a clear error before ONNX Runtime's own
        options = ort.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = QUIET
        try:
            session = ort.InferenceSession(self._config.model, options, providers=["CPUExecutionProvider"])
        except (RuntimeError, ValueError, onnx_errors.Fail, onnx_errors.InvalidProtobuf, onnx_errors.InvalidGraph,
                onnx_errors.InvalidArgument, onnx_errors.NotImplemented, onnx_errors.NoSuchFile) as error:  # fmt: skip
            raise ConfigError(f"{self._config.model!r} cannot be read as an ONNX model: {error}") from error
        self._check(session)
        self._session = session

    def _check(self, session: Any) -> None:
        shape = session.get_inputs()[0].shape
        if len(shape) != 4 or shape[1] != 3 or not all(isinstance(side, int) for side in shape[2:]):
            raise ConfigError(
                f"{self._config.model!r} takes input of shape {shape}; needed: [1, 3, height, width], fixed"
            )
        self._input, self._size = session.get_inputs()[0].name, (shape[2], shape[3])
        found = [tuple(output.shape) for output in session.get_outputs()]
        wanted = expected_outputs(self._config.layout, self._size, len(self._classes.names))
        if found != wanted:
            raise ConfigError(
                f"{self._config.model!r} has outputs {found}; layout {self._config.layout!r} with "
                f"{len(self._classes.names)} classes has {wanted}: is it another layout's export?"
            )

    def close(self) -> None:
        """Drop the session."""
        self._session = None

    def detect(self, images: Sequence[Image], labels: Sequence[Sequence[str]]) -> list[list[Detection] | Fault]:
        """Boxes of the wanted labels (names or synonyms; none = every class), best first, under the classes' names."""
        return [self._one(image, wanted) for image, wanted in zip(images, labels, strict=True)]

    def _one(self, image: Image, labels: Sequence[str]) -> list[Detection] | Fault:
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            return Fault("bad_pixels", f"expected uint8[H, W, 3], got {image.dtype}{list(image.shape)}")
        wanted: list[str] = []
        for label in labels or self._classes.names:
            name = self._classes.find(label)
            if name is None:
                return outside(label, len(self._classes.names))
            wanted.append(name)
        boxes, scores = self._run(image)
        found: list[Detection] = []
        for name in dict.fromkeys(wanted):
            found += self._boxes_of(name, boxes, scores[:, self._numbers[name]])
        return sorted(found, key=lambda box: -box.score)

    def _run(self, image: Image) -> tuple[np.ndarray, np.ndarray]:
        tensor, placement = prepare(image, self._layout, self._size)
        boxes, scores = self._layout.decode(self._session.run(None, {self._input: tensor}), self._size)
        return placement.to_picture(boxes, image.shape[0], image.shape[1]), np.clip(scores, 0.0, 1.0)

    def _boxes_of(self, name: str, boxes: np.ndarray, scores: np.ndarray) -> list[Detection]:
        candidates = np.flatnonzero(scores >= self._config.min_score)
        kept = candidates[
            suppress(boxes[candidates], scores[candidates], self._config.nms_overlap, self._config.boxes_per_class)
        ]
        return [
            Detection(name, float(scores[k]), (float(boxes[k, 0]), float(boxes[k, 1]), float(boxes[k, 2]), float(boxes[k, 3])))
            for k in kept
        ]  # fmt: skip
