"""Negation without training: a dual encoder whose text vectors turn away from what a text denies.

Two published geometries. *Repulsion* (SpaceVLM, arXiv 2511.12331): the query is the middle of what lies near the affirmed
part and not near the denied part, two caps of the sphere with cosine t. *Projection* (ICLR 2026, OpenReview Dd86hsSam5):
the caption's vector loses its component along the denied concept and gains a neutral anchor. They are the bar that training
must beat. What differs: the split into affirmed and denied is by rules (`negscale.language.query`) that saw no
benchmark, several denials are averaged, and t and lambda come from a tuning split that is never scored
(`negscale.benchmarks.tuning`); the papers tune them, or their parser, on slices of the benchmarks. As read from
secondary sources, the second paper's neutral words and sign are not certain: the words here are our own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from negscale.backends.dual_encoders import EncoderConfig
from negscale.core.backend import DualEncoder, Image
from negscale.core.config import Config
from negscale.core.stage import Resources
from negscale.language.query import Query, take_apart

NOTHING_AFFIRMED = "This is a photo"  # SpaceVLM's affirmed part of a query that only denies
NEUTRAL = ("a photo", "an image", "a picture", "a scene", "something", "a thing")
Embed = Callable[[Sequence[str]], np.ndarray]  # texts -> float32[n, d], unit length


class RepulsionConfig(Config):
    """Middle of the cap of the affirmed part outside of the cap of the denied part."""

    kind: Literal["repulsion"] = "repulsion"
    cosine: float = Field(default=0.92, gt=0, lt=1)
    """Cosine at the border of a cap (the paper's t; .90 to .95, tuned by data set there)."""
    template: str = "a photo of {}"
    """How a denied phrase is said; {} is the phrase."""


class ProjectionConfig(Config):
    """The text's vector without its component along the denied concept."""

    kind: Literal["projection"] = "projection"
    strength: float = Field(default=1.9, ge=0)
    """The paper's lambda: 1.9 for CLIP, .3 for a model trained on negation."""
    template: str = "a photo of {}"
    """How a denied phrase is said; {} is the phrase."""


NegationScoring = Annotated[RepulsionConfig | ProjectionConfig, Field(discriminator="kind")]


class NegationAwareConfig(Config):
    """A dual encoder with training-free negation around it."""

    kind: Literal["negation_aware_encoder"] = "negation_aware_encoder"
    encoder: EncoderConfig
    """Whose vectors are used."""
    scoring: NegationScoring = RepulsionConfig()
    """How a denial turns a text's vector."""

    def resources(self) -> Resources:
        """Those of the encoder."""
        return self.encoder.run.resources()

    def build(self) -> NegationAwareEncoder:
        """The encoder, not loaded yet."""
        return NegationAwareEncoder(self.encoder.build(), self.scoring)


class NegationAwareEncoder:
    """DualEncoder around another one: pictures as they are, texts with a denial turned away from it."""

    exact = False

    def __init__(self, encoder: DualEncoder, scoring: RepulsionConfig | ProjectionConfig) -> None:
        self._encoder, self._scoring = encoder, scoring

    @property
    def id(self) -> str:
        """The encoder's id and the scoring with its numbers."""
        facts = self._scoring.identity()
        return f"{self._encoder.id}+{facts.pop('kind')}({', '.join(f'{k}={v}' for k, v in sorted(facts.items()))})"

    def load(self) -> None:
        """Load the encoder."""
        self._encoder.load()

    def close(self) -> None:
        """Close the encoder."""
        self._encoder.close()

    def encode_images(self, images: Sequence[Image]) -> np.ndarray:
        """float32[N, D], unit L2 norm: the encoder's own."""
        return self._encoder.encode_images(images)

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """float32[N, D], unit L2 norm."""
        return turned(texts, self._encoder.encode_texts, self._scoring)

    def too_long(self, texts: Sequence[str]) -> Sequence[bool]:
        """Which texts the encoder cuts; none where it cannot say."""
        ask: Any = getattr(self._encoder, "too_long", None)
        return ask(texts) if ask else [False] * len(texts)


def needed_texts(texts: Sequence[str], scoring: RepulsionConfig | ProjectionConfig) -> list[str]:
    """Every text whose plain vector `turned` asks for, sorted: to be encoded once for all values of the parameters."""
    found = set(texts)
    for query in map(take_apart, texts):
        if query.denied:
            found |= {query.affirmed or NOTHING_AFFIRMED, *(scoring.template.format(phrase) for phrase in query.denied)}
    return sorted(found | (set(NEUTRAL) if scoring.kind == "projection" else set()))


def turned(texts: Sequence[str], embed: Embed, scoring: RepulsionConfig | ProjectionConfig) -> np.ndarray:
    """float32[n, d] unit vectors of texts; those that deny nothing are the encoder's own.

    embed: plain vectors of texts, asked once for all that are needed.
    """
    plain = needed_texts(texts, scoring)
    vectors = embed(plain)
    place = {text: at for at, text in enumerate(plain)}
    found = vectors[[place[text] for text in texts]].copy()
    rows: list[int] = []
    queries: list[Query] = []
    for at, query in enumerate(map(take_apart, texts)):
        if query.denied:
            rows.append(at)
            queries.append(query)
    if not rows:
        return found
    said = [[place[scoring.template.format(phrase)] for phrase in query.denied] for query in queries]
    denied = unit(np.stack([vectors[places].mean(axis=0) for places in said]))
    if scoring.kind == "repulsion":
        affirmed = vectors[[place[query.affirmed or NOTHING_AFFIRMED] for query in queries]]
        found[rows] = repelled(affirmed, denied, scoring.cosine)
    else:
        anchor = vectors[[place[text] for text in NEUTRAL]].mean(axis=0)
        found[rows] = projected(found[rows], denied, anchor, scoring.strength)
    return found


def repelled(affirmed: np.ndarray, denied: np.ndarray, cosine: float) -> np.ndarray:
    """Unit vectors in the plane of each pair, turned from the affirmed away from the denied one.

    affirmed, denied: float[n, d] unit vectors; cosine: t. With theta the angle between the two and alpha = arccos t, the
    result lies alpha - theta / 2 beyond the affirmed vector; where theta >= 2 alpha the caps do not meet and it is the
    affirmed vector. Equal or opposite vectors have no plane and give the affirmed one too.
    """
    theta = np.arccos(np.clip(np.einsum("ij,ij->i", affirmed, denied, dtype=np.float64), -1, 1))
    alpha, sine = np.arccos(cosine), np.sin(theta)
    meet = (theta < 2 * alpha) & (sine > 1e-6)
    safe = np.where(meet, sine, 1.0)
    toward = np.where(meet, np.sin(alpha + theta / 2) / safe, 1.0)
    away = np.where(meet, np.sin(alpha - theta / 2) / safe, 0.0)
    return unit(toward[:, None] * affirmed - away[:, None] * denied)


def projected(texts: np.ndarray, denied: np.ndarray, anchor: np.ndarray, strength: float) -> np.ndarray:
    """Unit vectors of e - strength * ((e . n) n - a): texts e float[n, d], denied n float[n, d] unit, anchor a float[d]."""
    along = np.einsum("ij,ij->i", texts, denied)[:, None] * denied
    return unit(texts - strength * (along - anchor))


def unit(vectors: np.ndarray) -> np.ndarray:
    """float32[n, d] at unit length; a zero vector stays zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
