"""What real backends do on bad days, as parameters of the tiny ones: the material of the fault tests.

None of it bears identity: a run that lost workers must have the fingerprint of one that did not.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Sequence
from typing import ClassVar

from pydantic import Field

from negscale.core.config import Config
from negscale.core.rng import seed_for


class Misbehaviour(Config):
    """How a tiny backend misbehaves; all off by default. A needle is a text that a request contains."""

    bears_identity: ClassVar[bool] = False

    malformed: float = Field(default=0.0, ge=0, le=1)
    """Share of requests answered with something unparsable; drawn per request and seed, so that a retry may succeed."""
    raises: float = Field(default=0.0, ge=0, le=1)
    """Share of requests that raise an exception, drawn in the same way."""
    exits: tuple[str, ...] = ()
    """Needles at which the process ends with os._exit(1)."""
    segfaults: tuple[str, ...] = ()
    """Needles at which the process dies of SIGSEGV."""
    hangs: tuple[str, ...] = ()
    """Needles at which the call never returns."""
    latency_ms: float = Field(default=0.0, ge=0)
    """Sleep per request."""
    dies_always: bool = False
    """The process ends at the first request, whatever it is."""
    exits_after: int | None = Field(default=None, ge=1)
    """The process ends after this many calls."""


class Conduct:
    """Carries out a `Misbehaviour` in one worker process."""

    def __init__(self, misbehaviour: Misbehaviour) -> None:
        self.misbehaviour = misbehaviour
        self._calls = 0

    def before_call(self, texts: Sequence[str], seeds: Sequence[int]) -> None:
        """Sleep, raise, hang or die, as the requests of one call (their whole text, their seeds) provoke."""
        bad = self.misbehaviour
        self._calls += 1
        if bad.dies_always or (bad.exits_after is not None and self._calls > bad.exits_after):
            os._exit(1)
        if bad.latency_ms:
            time.sleep(bad.latency_ms * len(texts) / 1000)
        for text, seed in zip(texts, seeds, strict=True):
            if _contains(text, bad.exits):
                os._exit(1)
            if _contains(text, bad.segfaults):
                os.kill(os.getpid(), signal.SIGSEGV)
            while _contains(text, bad.hangs):
                time.sleep(60)
            if _share(seed, "raises", text) < bad.raises:
                raise RuntimeError(f"the backend raised on request seed {seed} (misbehaviour.raises = {bad.raises})")

    def malforms(self, text: str, seed: int) -> bool:
        """Whether this request gets an unparsable answer."""
        return _share(seed, "malformed", text) < self.misbehaviour.malformed


def _contains(text: str, needles: Iterable[str]) -> bool:
    return any(needle in text for needle in needles)


def _share(seed: int, what: str, text: str) -> float:
    return seed_for(seed, what, text) / 2**63
