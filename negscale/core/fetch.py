"""What a stage may ask of the web: URLs in, for each the image that was stored, why it is refused, or what broke."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from negscale.core.backend import Backend
from negscale.core.stage import Fault, Reject


@dataclass(frozen=True, slots=True)
class Fetched:
    """An image that was fetched and stored."""

    image: Mapping[str, Any]  # the IMAGE struct; `uri` is relative to the folder that the fetcher writes to
    url: str  # where the redirects ended


class Fetcher(Backend, Protocol):
    """Fetches images and stores their bytes; never exact, since the web changes."""

    def fetch(self, urls: Sequence[str], deadline_s: float) -> list[Fetched | Reject | Fault]:
        """One answer per URL, in order. URLs not done after `deadline_s` seconds get a retryable Fault."""
        ...
