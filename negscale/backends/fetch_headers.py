"""What a response's headers say to a fetcher: opt-outs (X-Robots-Tag), when to come back (Retry-After)."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_WITH_VALUE = ("unavailable_after", "max-snippet", "max-image-preview", "max-video-preview")


def opted_out(tags: Iterable[str], refused: Collection[str], robot: str = "") -> str:
    """The first directive of `tags` (values of X-Robots-Tag) that is in `refused`; "" when there is none.

    A value may name the robot that it is for (``otherbot: noindex``); those for others than `robot` do not count. Unlike
    img2dataset, a directive that has a value itself (``unavailable_after: ...``) is not taken for a robot's name.

    >>> opted_out(["otherbot: noindex, nofollow", "NoAI"], ["noai", "noindex"])
    'noai'
    """
    for tag in tags:
        ours = True
        for part in tag.lower().split(","):
            name, colon, rest = part.partition(":")
            directive = part.strip()
            if colon and name.strip() not in _WITH_VALUE:
                ours, directive = name.strip() == robot.lower(), rest.strip()
            if ours and directive in refused:
                return directive
    return ""


def retry_after_s(value: str | None, now: datetime | None = None) -> float | None:
    """Seconds to wait by a Retry-After header (RFC 9110, 10.2.3): a number or a date; None when there is none, or junk."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            when = parsedate_to_datetime(value)
        except ValueError:
            return None
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        seconds = (when - (now or datetime.now(UTC))).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None
