"""Judges an object's presence with one detector or several: the absence check of photographs without an MLLM.

Stands where NegationCLIP (arXiv 2501.10913, section 3) asks LLaVA-1.6 "Is there {object} in this image?". What differs:
the answer is a probability with a threshold that the user chooses, an object outside of the detectors' vocabulary is a
fault (the authors' parser takes every answer without "yes" for an absence), and the evidence stays in `raw`.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
from pydantic import Discriminator, Tag

from negscale.backends.hf_detectors import HfDetectorConfig, HfZeroShotDetectorConfig
from negscale.backends.onnx_detector import OnnxDetectorConfig
from negscale.backends.presence import Calibration, Evidence, View, fuse, views_of
from negscale.backends.vocabulary import Vocabulary, outside
from negscale.core.backend import Detection, Detector, Image, Picture, Verdict
from negscale.core.config import Config
from negscale.core.errors import ConfigError
from negscale.core.stage import Fault, Resources

PARTS = 64  # views in memory at once


def _kind_of(value: Any) -> str:
    kind = value.get("kind") if isinstance(value, Mapping) else getattr(value, "kind", None)
    return kind or "onnx_detector"  # configs from before there were others do not name it


DetectorConfig: TypeAlias = Annotated[
    Annotated[OnnxDetectorConfig, Tag("onnx_detector")]
    | Annotated[HfDetectorConfig, Tag("hf_detector")]
    | Annotated[HfZeroShotDetectorConfig, Tag("hf_zero_shot_detector")],
    Discriminator(_kind_of),
]


class DetectorJudgeConfig(Config):
    """Says from detectors' boxes whether an object is in a picture."""

    kind: Literal["detector_judge"] = "detector_judge"
    detectors: dict[str, DetectorConfig]
    """Name -> detector; the names are those of `calibration.weights`."""
    calibration: Calibration = Calibration()
    """How boxes become a probability."""
    threshold: float = 0.5
    """Present when the probability reaches this; lower = fewer but surer absences."""
    class_thresholds: dict[str, float] = {}
    """Class -> its own threshold."""

    def build(self, threads: int = 1) -> DetectorJudge:
        """The judge with its detectors, not loaded yet. Raises ConfigError when names do not match."""
        return DetectorJudge(self, {
            name: config.build(threads) if isinstance(config, OnnxDetectorConfig) else config.build()
            for name, config in self.detectors.items()
        })  # fmt: skip

    def resources(self) -> Resources:
        """What a worker with all the detectors needs."""
        runs = [config.run for config in self.detectors.values() if not isinstance(config, OnnxDetectorConfig)]
        return Resources(cpus=max((run.cpus for run in runs), default=1.0), gpus=sum((run.gpus for run in runs), 0.0))


class DetectorJudge:
    """Judge over detectors. Pictures with equal pixels in one call are looked at once.

    A closed detector answers for its classes; an open one for every name, and then no claim is outside of the vocabulary.
    """

    needs_pixels = True

    def __init__(self, config: DetectorJudgeConfig, detectors: Mapping[str, Detector]) -> None:
        if not detectors:
            raise ConfigError(
                "verifier.detectors is empty; name at least one, e.g. verifier.detectors.yolox.model=PATH"
            )
        weights = config.calibration.weights
        if weights and set(weights) != set(detectors):
            raise ConfigError(
                f"verifier.calibration.weights names the detectors {sorted(weights)}, verifier.detectors has "
                f"{sorted(detectors)}: calibrate this ensemble, or set verifier.calibration.weights={{}} for a plain mean"
            )
        self._config = config
        self._detectors = dict(detectors)
        self._keys: list[tuple[str, View]] = (
            [(name, view) for name, views in weights.items() for view in views]
            if weights
            else [(name, "full") for name in detectors]
        )
        self._known = {name: detector.vocabulary for name, detector in detectors.items()}  # None: knows every name
        self._open = None in self._known.values()
        names = dict.fromkeys(n for known in self._known.values() for n in known or ())
        self._vocabulary = Vocabulary(tuple(names))
        self._check_classes()

    def _check_classes(self) -> None:
        for key in ("class_thresholds", "calibration.class_offsets"):
            named = self._config.class_thresholds if "thresholds" in key else self._config.calibration.class_offsets
            unknown = sorted(set(named) - set(self._vocabulary.names))
            if unknown and not self._open:
                raise ConfigError(f"verifier.{key} names {unknown[0]!r}, which is no class of the detectors")

    @property
    def exact(self) -> bool:
        """Exact where all detectors are."""
        return all(detector.exact for detector in self._detectors.values())

    @property
    def id(self) -> str:
        """The detectors' ids and the start of the hash of calibration and thresholds."""
        facts = repr((self._config.calibration.identity(), self._config.threshold, self._config.class_thresholds))
        inner = ", ".join(detector.id for detector in self._detectors.values())
        return f"detector_judge({inner})@{hashlib.sha256(facts.encode()).hexdigest()[:12]}"

    def load(self) -> None:
        """Load every detector."""
        for detector in self._detectors.values():
            detector.load()

    def close(self) -> None:
        """Close every detector."""
        for detector in self._detectors.values():
            detector.close()

    def judge(self, pictures: Sequence[Picture], claims: Sequence[str]) -> list[Verdict | Fault]:
        """Whether each picture shows the object beside it; `score` is the fused probability of presence."""
        answers: list[Verdict | Fault | None] = [None] * len(pictures)
        groups: dict[Any, list[tuple[int, str]]] = {}
        for number, (picture, claim) in enumerate(zip(pictures, claims, strict=True)):
            name = self._name_of(claim)
            if name is None:
                answers[number] = outside(claim, len(self._vocabulary.names))
            elif picture.pixels is None:
                answers[number] = Fault(
                    "no_pixels", f"image {picture.image_id!r} came without pixels; this judge needs them"
                )
            else:
                groups.setdefault(_fingerprint(picture.pixels), []).append((number, name))
        jobs = []
        for members in groups.values():
            pixels = pictures[members[0][0]].pixels
            assert pixels is not None
            jobs.append((pixels, list(dict.fromkeys(name for _, name in members))))
        for members, seen in zip(groups.values(), self._look(jobs), strict=True):
            for number, name in members:
                answers[number] = seen if isinstance(seen, Fault) else self._verdict(name, seen[name])
        return [answer for answer in answers if answer is not None]

    def _name_of(self, claim: str) -> str | None:
        """The class that `claim` means; the claim itself where a detector knows every name; None where nobody knows it."""
        found = self._vocabulary.find(claim)
        return found if found or not self._open else " ".join(claim.split()) or None

    def evidence(self, image: Image, names: Sequence[str]) -> dict[str, Evidence] | Fault:
        """Class -> what the detectors that know it saw of it, over all configured views."""
        return self._look([(image, names)])[0]

    def _look(self, jobs: Sequence[tuple[Image, Sequence[str]]]) -> list[dict[str, Evidence] | Fault]:
        """The evidence of each (picture, names); the views of many pictures go to a detector together."""
        found: list[dict[str, Evidence] | Fault] = [{name: Evidence() for name in names} for _, names in jobs]
        for key in self._keys:
            detector, vocabulary = self._detectors[key[0]], self._known[key[0]]
            parts = self._parts(jobs, found, key, vocabulary)
            while batch := list(itertools.islice(parts, PARTS)):
                answers = detector.detect([part for _, part, _ in batch], [names for _, _, names in batch])
                for (number, _, _), boxes in zip(batch, answers, strict=True):
                    seen = found[number]
                    if isinstance(boxes, Fault):
                        found[number] = boxes
                    elif not isinstance(seen, Fault):
                        _add(seen, key, boxes, jobs[number][0])
        return found

    def _parts(
        self, jobs: Sequence[tuple[Image, Sequence[str]]], found: Sequence[dict[str, Evidence] | Fault],
        key: tuple[str, View], vocabulary: tuple[str, ...] | None,
    ) -> Iterator[tuple[int, Image, list[str]]]:  # fmt: skip
        """(job, view, names to look for) of one detector and group of views."""
        for number, (image, names) in enumerate(jobs):
            seen = found[number]
            known = [name for name in names if vocabulary is None or name in vocabulary]
            if isinstance(seen, Fault) or not known:
                continue
            for name in known:
                seen[name].scores[key] = 0.0
            for part in views_of(image, key[1]):
                yield number, part, known

    def _verdict(self, name: str, evidence: Evidence) -> Verdict:
        chance = fuse(evidence, self._config.calibration, name)
        threshold = self._config.class_thresholds.get(name, self._config.threshold)
        raw = " ".join(f"{detector}.{view}={score:.4f}" for (detector, view), score in evidence.scores.items())
        return Verdict(chance >= threshold, chance, f"{name}: {raw} area={evidence.area:.5f}")


def _add(seen: Mapping[str, Evidence], key: tuple[str, View], boxes: Sequence[Detection], image: Image) -> None:
    size = float(image.shape[0] * image.shape[1])
    for box in boxes:
        left, top, right, bottom = box.box_xyxy_px
        seen[box.label].add(key, box.score, max(0.0, right - left) * max(0.0, bottom - top) / size)


def _fingerprint(pixels: np.ndarray) -> tuple[Any, ...]:
    return (*pixels.shape, str(pixels.dtype), hashlib.blake2b(pixels.tobytes(), digest_size=16).digest())
