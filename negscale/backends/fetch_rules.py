"""What a fetcher accepts (bears identity) and how hard it tries (does not)."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from negscale.core.config import Config
from negscale.core.image import MAX_PIXELS


class FetchLimits(Config):
    """How hard and how long to try. Bears no identity: a retry may be more patient than the run was."""

    bears_identity: ClassVar[bool] = False

    concurrency: int = Field(default=64, ge=1)
    """Requests that a worker has open at once."""
    per_host: int = Field(default=8, ge=1)
    """Requests of a worker to one host at once."""
    connect_s: float = Field(default=10.0, gt=0)
    """Longest wait for a connection."""
    read_s: float = Field(default=10.0, gt=0)
    """Longest silence of a server."""
    total_s: float = Field(default=30.0, gt=0)
    """Longest time of one request, name look-up included."""
    retries: int = Field(default=2, ge=0)
    """Further tries after time-outs, lost connections, cut bodies, 429 and 5xx."""
    backoff_s: float = Field(default=0.5, ge=0)
    """Wait before the first further try; doubles with each, times 0.5 to 1.5 by chance."""
    max_wait_s: float = Field(default=30.0, ge=0)
    """Longest wait before a further try; a server that asks for more (Retry-After) is left to `negscale retry`."""
    verify_tls: bool = True
    """Check certificates. Many image hosts let theirs expire: a `tls_error` can be retried without the check."""
    user_agent: str = "Mozilla/5.0 (compatible; negscale)"
    """How the fetcher names itself."""


class FetchRules(Config):
    """What is fetched, and from where."""

    max_bytes: int = Field(default=32_000_000, ge=1)
    """Longer files are refused, as soon as that is known."""
    max_pixels: int = Field(default=MAX_PIXELS, ge=1)
    """Larger pictures are refused by their header."""
    max_redirects: int = Field(default=5, ge=0)
    """Hops from a URL to its image."""
    opt_out: tuple[str, ...] = ("noai", "noimageai", "noindex", "noimageindex")
    """X-Robots-Tag directives that are honoured (img2dataset's)."""
    robot: str = "negscale"
    """Name under which X-Robots-Tag may address this fetcher."""
    allow_private_hosts: tuple[str, ...] = ()
    """Names or addresses that may lie in private networks, such as an own mirror. All others must be public."""
    limits: FetchLimits = FetchLimits()
