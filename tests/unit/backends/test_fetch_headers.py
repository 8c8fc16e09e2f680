from __future__ import annotations

from datetime import UTC, datetime

import pytest

from negscale.backends.fetch_headers import opted_out, retry_after_s

REFUSED = ("noai", "noimageai", "noindex", "noimageindex")


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ([], ""), (["nofollow"], ""), (["noai"], "noai"), (["NoArchive, NoImageAI"], "noimageai"),
        (["otherbot: noindex"], ""), (["otherbot: nofollow, noindex"], ""), (["negscale: noai"], "noai"),
        (["otherbot: noindex, negscale: noindex"], "noindex"), (["otherbot: noindex", "noindex"], "noindex"),
        (["unavailable_after: 25 Jun 2030 15:00:00 PST, noai"], "noai"), (["max-snippet: 20, noindex"], "noindex"),
        (["noindexed, xnoai"], ""),
    ],
)  # fmt: skip
def test_opted_out(tags: list[str], expected: str) -> None:
    assert opted_out(tags, REFUSED, "negscale") == expected


NOW = datetime(2030, 1, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None), ("", None), ("120", 120.0), ("0.5", 0.5), ("-3", 0.0), ("soon", None), ("nan", None), ("inf", None),
        ("Tue, 01 Jan 2030 12:01:30 GMT", 90.0), ("Tue, 01 Jan 2030 11:00:00 GMT", 0.0), ("1e400", None),
    ],
)  # fmt: skip
def test_retry_after(value: str | None, expected: float | None) -> None:
    assert retry_after_s(value, NOW) == expected
