"""Judges an object's presence from COCO instance annotations: for users who have them, and as the truth of tests.

What the issue of NegationCLIP's code leaves to an MLLM (arXiv 2501.10913, section 3) is here a look-up. An image without
an entry, or an object that is not annotated at all, is a fault: silence is no absence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from negscale.backends.corpora import image_key
from negscale.backends.instances import InstancesConfig
from negscale.backends.vocabulary import Vocabulary, outside
from negscale.core.backend import Picture, Verdict
from negscale.core.stage import Fault


class AnnotationJudgeConfig(InstancesConfig):
    """Looks the object up in a COCO instances file."""

    role: ClassVar[str] = "verifier"
    kind: Literal["annotation_judge"] = "annotation_judge"

    def build(self) -> AnnotationJudge:
        """The judge, not loaded yet."""
        return AnnotationJudge(self)


class AnnotationJudge:
    """Judge over annotations; needs no pixels."""

    exact = True
    needs_pixels = False

    def __init__(self, config: AnnotationJudgeConfig) -> None:
        self._config = config
        self._objects: Mapping[str, frozenset[str]] = {}
        self._vocabulary = Vocabulary(())

    @property
    def id(self) -> str:
        """Format and start of the file's sha256."""
        return self._config.backend_id

    def load(self) -> None:
        """Read the file. Raises ConfigError when it is no COCO instances file."""
        names, self._objects = self._config.objects()
        self._vocabulary = Vocabulary(names)

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
