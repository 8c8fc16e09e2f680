"""Judges an object's presence from COCO instance annotations: for users who have them, and as the truth of tests.

What the issue of NegationCLIP's code leaves to an MLLM (arXiv 2501.10913, section 3) is here a look-up. An image without
an entry, or an object that is not annotated at all, is a fault: silence is no absence.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any, Literal

from negscale.backends.corpora import coco_instances, image_key, read_bytes
from negscale.backends.vocabulary import Vocabulary, outside
from negscale.core.backend import Picture, Verdict
from negscale.core.config import Config, Location
from negscale.core.errors import ConfigError
from negscale.core.stage import Fault


class AnnotationJudgeConfig(Config):
    """Looks the object up in a COCO instances file."""

    kind: Literal["annotation_judge"] = "annotation_judge"
    annotations: Location = ""
    """instances_*.json in COCO's format; crowds count as present."""

    def content(self) -> dict[str, Any]:
        """The hash of the file."""
        return {"annotations_sha256": hashlib.sha256(self.read()).hexdigest()}

    def read(self) -> bytes:
        """The file's bytes. Raises ConfigError naming the key."""
        return read_bytes(self.annotations, "verifier.annotations")

    def build(self) -> AnnotationJudge:
        """The judge, not loaded yet."""
        return AnnotationJudge(self)


class AnnotationJudge:
    """Judge over annotations; needs no pixels."""

    exact = True
    needs_pixels = False

    def __init__(self, config: AnnotationJudgeConfig) -> None:
        self._config = config
        self._objects: dict[str, frozenset[str]] = {}
        self._vocabulary = Vocabulary(())

    @property
    def id(self) -> str:
        """Format and start of the file's sha256: "annotations/coco_instances@9c1d..."."""
        return f"annotations/coco_instances@{self._config.content()['annotations_sha256'][:12]}"

    def load(self) -> None:
        """Read the file. Raises ConfigError when it is no COCO instances file."""
        try:
            document = json.loads(self._config.read())
            self._vocabulary = Vocabulary([category["name"] for category in document["categories"]])
            self._objects = {key: frozenset(objects or ()) for key, _, objects in coco_instances(document)}
        except (KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise ConfigError(
                f"verifier.annotations: {self._config.annotations!r} is no COCO instances file "
                f"({type(error).__name__}: {error}); give instances_<split>.json"
            ) from error

    def close(self) -> None:
        """Forget the annotations."""
        self._objects = {}

    def judge(self, pictures: Sequence[Picture], claims: Sequence[str]) -> list[Verdict | Fault]:
        """1.0 where the object is annotated in the image, else 0.0."""
        return [self._one(picture, claim) for picture, claim in zip(pictures, claims, strict=True)]

    def _one(self, picture: Picture, claim: str) -> Verdict | Fault:
        name = self._vocabulary.find(claim)
        if name is None:
            return outside(claim, len(self._vocabulary.names))
        objects = self._objects.get(image_key(picture.image_id))
        if objects is None:
            return Fault("not_annotated", f"image {picture.image_id!r} has no entry in the annotations")
        return Verdict(name in objects, float(name in objects), f"{name}: {', '.join(sorted(objects)) or 'no objects'}")
