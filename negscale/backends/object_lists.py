"""Objects of a caption or an image without a model: the nouns that the caption states, or what annotators drew.

NegBench takes objects from annotations where a set has them (arXiv 2501.09425, section 2.2, step 1) and from an LLM where
it has not; the noun look-up stands in for that LLM, within a vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from negscale.backends.corpora import image_key
from negscale.backends.instances import InstancesConfig
from negscale.core.backend import ExtractRequest
from negscale.core.config import Config
from negscale.core.errors import ConfigError
from negscale.core.stage import Fault
from negscale.language.nouns import COCO_80
from negscale.language.polarity import polarity


class CaptionNounsConfig(Config):
    """Vocabulary names (plurals, synonyms) that the caption affirms."""

    kind: Literal["caption_nouns"] = "caption_nouns"
    vocabulary: Literal["coco80"] | tuple[str, ...] = "coco80"

    def objects(self) -> tuple[str, ...]:
        """The vocabulary spelled out. Raises ConfigError when it is empty."""
        names = COCO_80 if self.vocabulary == "coco80" else tuple(dict.fromkeys(self.vocabulary))
        if not names:
            raise ConfigError("extractor.vocabulary is empty; give object names or 'coco80'")
        return names

    def build(self) -> CaptionNouns:
        return CaptionNouns(self)


class CaptionNouns:
    """`Extractor`; exact. What a caption denies ("a street without cars") is not listed."""

    exact = True

    def __init__(self, config: CaptionNounsConfig) -> None:
        self._names = config.objects()

    @property
    def id(self) -> str:
        return f"negscale/caption_nouns/{len(self._names)}@1"

    def load(self) -> None: ...

    def close(self) -> None: ...

    def extract(self, requests: Sequence[ExtractRequest]) -> list[list[str] | Fault]:
        return [[name for name in self._names if polarity(r.caption, name) == "affirmed"] for r in requests]


class AnnotatedObjectsConfig(InstancesConfig):
    """Classes annotated in the image, from a COCO instances file."""

    role: ClassVar[str] = "extractor"
    kind: Literal["annotated_objects"] = "annotated_objects"

    def build(self) -> AnnotatedObjects:
        return AnnotatedObjects(self)


class AnnotatedObjects:
    """`Extractor`; exact. Knows images, not captions."""

    exact = True

    def __init__(self, config: AnnotatedObjectsConfig) -> None:
        self._config = config
        self._objects: dict[str, list[str]] = {}

    @property
    def id(self) -> str:
        return self._config.backend_id

    def load(self) -> None:
        """Read the file. Raises ConfigError when it is no COCO instances file."""
        self._objects = {key: sorted(objects) for key, objects in self._config.objects()[1].items()}

    def close(self) -> None:
        """Forget the annotations."""
        self._objects = {}

    def extract(self, requests: Sequence[ExtractRequest]) -> list[list[str] | Fault]:
        return [self._one(request.image_id) for request in requests]

    def _one(self, image_id: str) -> list[str] | Fault:
        found = self._objects.get(image_key(image_id))
        if found is None:
            return Fault("not_annotated", f"image {image_id!r} has no entry in {self._config.annotations!r}")
        return list(found)
