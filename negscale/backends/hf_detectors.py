"""Object detectors through transformers: open-vocabulary (OWL-ViT, OWLv2, Grounding DINO) and closed (DETR, RT-DETR, D-FINE).

NegBench filters its absent objects with OWL-ViT: prompt "A photo of {obj}", a box of score 0.1 or more means present (arXiv
2501.09425, appendix; m1k2zoo/negbench). What differs: every label is scored on its own. transformers' post-processing
gives each OWL-ViT box to its best label alone, so that an object hides behind a likelier one that was asked about in the
same call; here a label's boxes do not depend on the labels beside it. Closed detectors keep their own post-processing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from types import SimpleNamespace
from typing import Any, Literal

from pydantic import Field, field_validator

from negscale.backends.hf_weights import HfModelConfig, check_library, device_of
from negscale.backends.pixels import in_batches, pixel_fault
from negscale.backends.vocabulary import Vocabulary, outside
from negscale.core.backend import Detection, Image
from negscale.core.errors import ConfigError, FatalError
from negscale.core.stage import Fault

_COLUMN_PER_LABEL = ("owlvit", "owlv2")  # logits[image, box, label]
_ONE_TEXT = ("grounding-dino", "mm-grounding-dino")  # logits[image, box, token of the one text]
Job = tuple[Image, tuple[str, ...]]


class HfZeroShotDetectorConfig(HfModelConfig):
    """An open-vocabulary detector: any name may be asked for."""

    kind: Literal["hf_zero_shot_detector"] = "hf_zero_shot_detector"
    prompt: str = "A photo of {object}"
    """The text of a label. OWL models: as here (NegBench). Grounding DINO and LLMDet: {object}; lower case and a final dot
    are added."""
    min_score: float = Field(default=0.1, ge=0, le=1)
    """Boxes that do not score more are not reported."""

    @field_validator("prompt")
    @classmethod
    def _has_a_place(cls, prompt: str) -> str:
        if prompt.count("{object}") != 1 or prompt.count("{") != 1:
            raise ValueError("expected a text with {object} in it once, e.g. 'A photo of {object}'")
        return prompt

    def build(self) -> HfZeroShotDetector:
        """The detector, not loaded yet."""
        return HfZeroShotDetector(self)


class HfDetectorConfig(HfModelConfig):
    """A detector with classes of its own, those of its config.json (`id2label`)."""

    kind: Literal["hf_detector"] = "hf_detector"
    min_score: float = Field(default=0.01, ge=0, le=1)
    """Boxes that do not score more are not reported; low, because absence is ranked by low scores."""

    def classes(self) -> dict[int, str]:
        """Output number -> class name. Raises ConfigError when the model has no class names."""
        named = {int(n): str(name) for n, name in (self.model_facts().get("id2label") or {}).items()}
        found = {n: name for n, name in named.items() if name.strip() and name not in ("N/A", "no-object")}
        if not found or all(name.startswith("LABEL_") for name in found.values()):
            raise ConfigError(f"model {self.model} names no classes (id2label in config.json); use one that does")
        return found

    def build(self) -> HfDetector:
        """The detector, not loaded yet."""
        return HfDetector(self)


class _TorchDetector(ABC):
    """Loading, batching and faults; a subclass says what to feed and how to read the answer."""

    exact = False  # a batch mate may change the last bits of a score

    def __init__(self, config: HfModelConfig) -> None:
        self._settings = config
        self._model: Any = None
        self._processor: Any = None

    @property
    def id(self) -> str:
        """hf/MODEL@REVISION, or hf/MODEL@files-DIGEST for a model in a folder."""
        return self._id

    @cached_property
    def _id(self) -> str:
        return self._settings.backend_id()

    def _load(self, auto_class: str) -> None:
        check_library("torch")
        check_library("transformers")
        import torch
        import transformers

        config = self._settings
        self._device = device_of(config.run.device)
        self._dtype = getattr(torch, config.dtype)
        self._processor = self._load_processor(transformers)
        eyes = getattr(self._processor, "image_processor", self._processor)
        self._pads = bool(getattr(eyes, "do_pad", False)) and config.need_type((), "") not in _COLUMN_PER_LABEL
        model = config.load_with(getattr(transformers, auto_class).from_pretrained, dtype=self._dtype)
        self._model = model.to(self._device).eval()

    def _load_processor(self, transformers: Any) -> Any:
        return self._settings.load_with(transformers.AutoProcessor.from_pretrained)

    def close(self) -> None:
        """Drop the model and free its memory."""
        on_gpu = self._model is not None and self._device == "cuda"
        self._model = self._processor = None
        if on_gpu:
            import torch

            torch.cuda.empty_cache()

    def detect(self, images: Sequence[Image], labels: Sequence[Sequence[str]]) -> list[list[Detection] | Fault]:
        """Boxes of the wanted labels, best first, in pixels of the picture; a Fault where the request is at fault."""
        if self._model is None:
            raise FatalError(f"{self.id}: detect() on a model that is not loaded; call load() first")
        wanted = [self._wanted(image, names) for image, names in zip(images, labels, strict=True)]
        groups: dict[tuple[int, ...], list[tuple[int, Job]]] = {}
        for number, (image, names) in enumerate(zip(images, wanted, strict=True)):
            if not isinstance(names, Fault):
                # beside a larger picture one would be padded, and DETR-like models see padding at the edges
                groups.setdefault(image.shape if self._pads else (), []).append((number, (image, names)))
        answers: list[Any] = list(wanted)
        for members in groups.values():
            found = in_batches([job for _, job in members], self._settings.run.batch_size, self._look)
            for (number, _), answer in zip(members, found, strict=True):
                answers[number] = answer
        return answers

    @abstractmethod
    def _wanted(self, image: Image, labels: Sequence[str]) -> tuple[str, ...] | Fault: ...

    @abstractmethod
    def _look(self, jobs: Sequence[Job]) -> list[list[Detection] | Fault]: ...

    def _forward(self, inputs: Any) -> Any:
        import torch

        moved = {
            name: value.to(self._device, self._dtype if value.is_floating_point() else None)
            for name, value in inputs.items()
            if isinstance(value, torch.Tensor)
        }
        with torch.inference_mode():
            return self._model(**moved)


class HfZeroShotDetector(_TorchDetector):
    """Detector with an open vocabulary. Asked for no label it finds nothing: it cannot look for everything."""

    vocabulary: tuple[str, ...] | None = None  # any name

    def __init__(self, config: HfZeroShotDetectorConfig) -> None:
        super().__init__(config)
        self._config = config

    def load(self) -> None:
        """Load processor and weights. Raises ConfigError when the model cannot be had or is of another kind."""
        self._type = self._config.need_type((*_COLUMN_PER_LABEL, *_ONE_TEXT), "hf_zero_shot_detector")
        self._load("AutoModelForZeroShotObjectDetection")
        self._longest = int(getattr(self._model.config.text_config, "max_position_embeddings", 512))
        self._tokens: dict[str, int] = {}

    def prompt_of(self, label: str) -> str:
        """The text that stands for `label`."""
        text = self._config.prompt.replace("{object}", " ".join(label.split()))
        if self._type in _ONE_TEXT:  # its texts are phrases that end in a dot
            return " ".join(text.lower().replace(".", " ").split()) + "."
        return text

    def _wanted(self, image: Image, labels: Sequence[str]) -> tuple[str, ...] | Fault:
        fault = pixel_fault(image)
        if fault is not None:
            return fault
        for label in labels:
            if not label.strip():
                return Fault("empty_label", "a label is empty; nothing can be looked for")
            if label not in self._tokens:
                self._tokens[label] = len(self._processor.tokenizer(self.prompt_of(label))["input_ids"])
            if self._tokens[label] > self._longest:
                return Fault(
                    "label_too_long",
                    f"{label[:80]!r} takes {self._tokens[label]} tokens, the model reads {self._longest}",
                )
        return tuple(dict.fromkeys(labels))

    def _look(self, jobs: Sequence[Job]) -> list[list[Detection] | Fault]:
        if self._type in _COLUMN_PER_LABEL:
            asked = [job for job in jobs if job[1]]
            found = iter(self._columns(asked) if asked else [])
            return [next(found) if labels else [] for _, labels in jobs]
        pairs = [(image, (label,)) for image, labels in jobs for label in labels]
        boxes = iter(in_batches(pairs, self._config.run.batch_size, self._texts))
        return [_together([next(boxes) for _ in labels]) for _, labels in jobs]

    def _columns(self, jobs: Sequence[Job]) -> list[list[Detection] | Fault]:
        texts = [[self.prompt_of(label) for label in labels] for _, labels in jobs]
        outputs = self._forward(self._processor(text=texts, images=[image for image, _ in jobs], return_tensors="pt"))
        found: list[list[list[Detection] | Fault]] = [[] for _ in jobs]
        for column in range(outputs.logits.shape[-1]):
            alone = SimpleNamespace(logits=outputs.logits[..., column : column + 1], pred_boxes=outputs.pred_boxes)
            results = self._processor.post_process_grounded_object_detection(
                alone, threshold=self._config.min_score, target_sizes=_sizes(jobs)
            )
            for (image, labels), result, fault, boxes in zip(jobs, results, _broken(alone), found, strict=True):
                if column < len(labels):  # jobs with fewer labels were padded
                    boxes.append(fault or _detections(image, result, [labels[column]] * len(result["scores"])))
        return [_together(boxes) for boxes in found]

    def _texts(self, pairs: Sequence[Job]) -> list[list[Detection] | Fault]:
        inputs = self._processor(
            text=[self.prompt_of(labels[0]) for _, labels in pairs], images=[image for image, _ in pairs],
            return_tensors="pt", padding=True,
        )  # fmt: skip
        outputs = self._forward(inputs)
        results = self._processor.post_process_grounded_object_detection(
            outputs, inputs["input_ids"], threshold=self._config.min_score, text_threshold=self._config.min_score,
            target_sizes=_sizes(pairs),
        )  # fmt: skip
        return [
            fault or _detections(image, result, [labels[0]] * len(result["scores"]))
            for (image, labels), result, fault in zip(pairs, results, _broken(outputs), strict=True)
        ]


class HfDetector(_TorchDetector):
    """Detector with the classes that the model was trained on."""

    def __init__(self, config: HfDetectorConfig) -> None:
        super().__init__(config)
        self._config = config

    @property
    def vocabulary(self) -> tuple[str, ...] | None:
        """The class names in the order of the outputs; reads the model's config.json, not its weights."""
        return self._classes.names

    @cached_property
    def _classes(self) -> Vocabulary:
        return Vocabulary(tuple(dict.fromkeys(self._config.classes().values())))

    def load(self) -> None:
        """Load processor and weights. Raises ConfigError when the model cannot be had or is no detector."""
        self._names = self._config.classes()
        self._load("AutoModelForObjectDetection")

    def _load_processor(self, transformers: Any) -> Any:
        return self._config.load_with(transformers.AutoImageProcessor.from_pretrained)

    def _wanted(self, image: Image, labels: Sequence[str]) -> tuple[str, ...] | Fault:
        fault = pixel_fault(image)
        if fault is not None:
            return fault
        names = []
        for label in labels or self._classes.names:
            name = self._classes.find(label)
            if name is None:
                return outside(label, len(self._classes.names))
            names.append(name)
        return tuple(dict.fromkeys(names))

    def _look(self, jobs: Sequence[Job]) -> list[list[Detection] | Fault]:
        outputs = self._forward(self._processor(images=[image for image, _ in jobs], return_tensors="pt"))
        results = self._processor.post_process_object_detection(
            outputs, threshold=self._config.min_score, target_sizes=_sizes(jobs)
        )
        answers: list[list[Detection] | Fault] = []
        for (image, labels), result, fault in zip(jobs, results, _broken(outputs), strict=True):
            names = [self._names.get(int(number), "") for number in result["labels"]]
            boxes = _detections(image, result, names)
            answers.append(fault or _together([[box for box in boxes if box.label in labels]]))
        return answers


def _sizes(jobs: Sequence[Job]) -> list[tuple[int, int]]:
    return [(image.shape[0], image.shape[1]) for image, _ in jobs]


def _broken(outputs: Any) -> list[Fault | None]:
    """A Fault for each picture whose scores are no numbers: it must never count as "nothing there"."""
    overflowed = outputs.logits.isnan().flatten(1).any(1) | outputs.pred_boxes.isnan().flatten(1).any(1)
    message = "the model's scores are NaN; half precision overflows on some pictures: set dtype=float32"
    return [Fault("not_a_number", message) if bad else None for bad in overflowed.tolist()]


def _detections(image: Image, result: Any, names: Sequence[str]) -> list[Detection]:
    """A post-processed result as plain values, boxes cut at the picture's edges."""
    edges = (float(image.shape[1]), float(image.shape[0])) * 2
    found = []
    for name, score, box in zip(names, result["scores"].tolist(), result["boxes"].float().tolist(), strict=True):
        left, top, right, bottom = (min(max(side, 0.0), edge) for side, edge in zip(box, edges, strict=True))
        found.append(Detection(name, float(score), (left, top, max(left, right), max(top, bottom))))
    return found


def _together(parts: Sequence[list[Detection] | Fault]) -> list[Detection] | Fault:
    """All boxes, best first; the first Fault where there is one."""
    boxes: list[Detection] = []
    for part in parts:
        if isinstance(part, Fault):
            return part
        boxes += part
    return sorted(boxes, key=lambda box: -box.score)
