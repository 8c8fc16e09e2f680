"""Editors that bound every score: what doing nothing, answering rightly, always removing and noise come to.

NeIn's table (arXiv 2409.06481, section 5) has no such rows, so that 93 % removal cannot be told from "erase whatever noun
the sentence holds". These editors are shown the wanted image; they cost no model, and their scores on the same rows are the
floor and the ceiling beside which an editor's scores mean something.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from negscale.core.backend import Edit, EditRequest, Image
from negscale.core.config import Config
from negscale.core.errors import FatalError
from negscale.core.rng import rng_for
from negscale.core.stage import Fault, Resources

Rule = Literal["unchanged", "perfect", "always_remove", "noise"]
_REMOVING = ("negative", "two_objects")  # kinds of instructions that want the object gone


class ControlEditorConfig(Config):
    """A bound instead of a model; only `negscale eval` has what it needs."""

    kind: Literal["control_editor"] = "control_editor"
    rule: Rule = "unchanged"
    """unchanged: gives the input back. perfect: the ground truth where the instruction denies the object, else the input.
    always_remove: the ground truth whatever the instruction says. noise: uniform noise of the input's size."""

    def build(self) -> ControlEditor:
        """The editor."""
        return ControlEditor(self)

    def resources(self) -> Resources:
        """What a worker needs."""
        return Resources()


class ControlEditor:
    """`ImageEditor` for the rules that need no ground truth; `edit_knowing` for all."""

    exact = True

    def __init__(self, config: ControlEditorConfig | None = None) -> None:
        self._rule: Rule = (config or ControlEditorConfig()).rule

    @property
    def id(self) -> str:
        return f"control/{self._rule}@1"

    def load(self) -> None: ...

    def close(self) -> None: ...

    def edit(self, requests: Sequence[EditRequest]) -> list[Edit | Fault]:
        """Raises FatalError for rules that need the ground truth."""
        if self._rule in ("perfect", "always_remove"):
            raise FatalError(f"the control editor {self._rule!r} needs the ground truth; it serves evaluation only")
        return self.edit_knowing(requests, [request.image for request in requests], ["negative"] * len(requests))

    def edit_knowing(
        self, requests: Sequence[EditRequest], truths: Sequence[Image], kinds: Sequence[str]
    ) -> list[Edit | Fault]:
        """One edit a request. truths: the image without the object; kinds: what sort of instruction each is."""
        return [Edit(self._answer(*item)) for item in zip(requests, truths, kinds, strict=True)]

    def _answer(self, request: EditRequest, truth: Image, kind: str) -> Image:
        if self._rule == "noise":
            return rng_for(request.seed, "noise").integers(0, 256, request.image.shape, np.uint8)
        if self._rule == "always_remove" or (self._rule == "perfect" and kind in _REMOVING):
            return truth
        return request.image
