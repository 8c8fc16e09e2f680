"""A dual encoder as a judge of presence: does the picture fit "a photo of {object}"?

The cheapest witness, and a weak one. A global vector hardly holds small objects, and CLIP-like text towers read "without"
as a mention (the flaw that NegBench, arXiv 2501.09425, and NegationCLIP, arXiv 2501.10913, measure), so that the contrast
with "a photo without {object}" says little. Use it to rank candidates or beside a detector, not as the only verifier.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from negscale.backends.dual_encoders import EncoderConfig
from negscale.backends.pixels import pixel_fault
from negscale.core.backend import DualEncoder, Picture, Verdict
from negscale.core.config import Config
from negscale.core.stage import Fault, Resources


class EncoderJudgeConfig(Config):
    """Similarity of picture and text against a threshold, or against texts that say otherwise."""

    kind: Literal["encoder_judge"] = "encoder_judge"
    encoder: EncoderConfig
    rule: Literal["cosine", "contrast"] = "cosine"
    """cosine: that of the picture and `positive`; contrast: softmax over `positive` and `negatives`."""
    positive: str = "a photo of {object}"
    negatives: tuple[str, ...] = ("a photo without {object}",)
    """Texts of the other case; only for rule=contrast."""
    logit_scale: float = Field(default=100.0, gt=0)
    """Cosines are multiplied by it before the softmax; CLIP's learned value is 100."""
    threshold: float = Field(default=0.25, ge=0, le=1)
    """Present when the score reaches this. No value fits every encoder: calibrate it on annotated pictures."""

    @model_validator(mode="after")
    def _names_the_object(self) -> EncoderJudgeConfig:
        if "{object}" not in self.positive:
            raise ValueError(f"positive must hold {{object}}, got {self.positive!r}")
        if self.rule == "contrast" and not self.negatives:
            raise ValueError("rule=contrast needs at least one text in negatives")
        return self

    def resources(self) -> Resources:
        """What a worker needs."""
        return self.encoder.resources()

    def build(self) -> EncoderJudge:
        """The judge, not loaded yet."""
        return EncoderJudge(self, self.encoder.build())


class EncoderJudge:
    """Judge over a dual encoder. Equal pictures and equal texts of one call are encoded once."""

    needs_pixels = True

    def __init__(self, config: EncoderJudgeConfig, encoder: DualEncoder) -> None:
        self._config, self._encoder = config, encoder

    @property
    def exact(self) -> bool:
        """Exact where the encoder is."""
        return self._encoder.exact

    @property
    def id(self) -> str:
        """encoder_judge(ENCODER)@hash of texts and threshold."""
        config = self._config
        facts = repr((config.rule, config.positive, config.negatives, config.logit_scale, config.threshold))
        return f"encoder_judge({self._encoder.id})@{hashlib.sha256(facts.encode()).hexdigest()[:12]}"

    def load(self) -> None:
        """Load the encoder."""
        self._encoder.load()

    def close(self) -> None:
        """Close the encoder."""
        self._encoder.close()

    def judge(self, pictures: Sequence[Picture], claims: Sequence[str]) -> list[Verdict | Fault]:
        """Whether each picture fits the object beside it; `score` is the cosine (cut at 0) or the softmax share."""
        faults = [pixel_fault(picture.pixels, picture.image_id) for picture in pictures]
        asked = [i for i, fault in enumerate(faults) if fault is None]
        images = self._unique_images([pictures[i] for i in asked])
        templates = (self._config.positive, *(self._config.negatives if self._config.rule == "contrast" else ()))
        texts = list(dict.fromkeys(t.replace("{object}", claims[i]) for i in asked for t in templates))
        rows = dict(zip(texts, self._encoder.encode_texts(texts), strict=True))
        answers: list[Verdict | Fault] = [fault or Fault("unanswered", "") for fault in faults]
        for image, i in zip(images, asked, strict=True):
            cosines = np.array([image @ rows[t.replace("{object}", claims[i])] for t in templates], np.float64)
            answers[i] = self._verdict(cosines)
        return answers

    def _unique_images(self, pictures: Sequence[Picture]) -> np.ndarray:
        keys: dict[bytes, int] = {}
        different = []
        at = []
        for picture in pictures:
            assert picture.pixels is not None
            shape = repr(picture.pixels.shape).encode()
            key = hashlib.blake2b(shape + picture.pixels.tobytes(), digest_size=16).digest()
            if key not in keys:
                keys[key] = len(different)
                different.append(picture.pixels)
            at.append(keys[key])
        return self._encoder.encode_images(different)[at]

    def _verdict(self, cosines: np.ndarray) -> Verdict | Fault:
        if not np.isfinite(cosines).all():
            return Fault("not_a_number", "the encoder's output is NaN; set encoder.dtype=float32")
        config = self._config
        score = float(cosines[0])
        if config.rule == "contrast":
            logits = config.logit_scale * (cosines - cosines.max())
            score = float(np.exp(logits[0]) / np.exp(logits).sum())
        raw = " ".join(f"{cosine:.4f}" for cosine in cosines)
        return Verdict(score >= config.threshold, min(max(score, 0.0), 1.0), f"cosines {raw}")
