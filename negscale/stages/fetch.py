"""From a URL to a stored image (CC3M and CC12M are lists of URLs; img2dataset is the usual tool for them).

What differs from img2dataset: what the web refuses (gone, opted out, no image) is told from what broke (time-outs,
5xx), so that a retry asks again only where that can help; nothing is re-encoded, so that the sha256 is that of the file
on the web; private addresses are never connected to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyarrow as pa

from negscale.core.fetch import Fetched, Fetcher
from negscale.core.schema import FETCHED
from negscale.core.stage import Outcome, Resources, Row, Stage

DEADLINE_SHARE = 0.8  # of the shard's time-out: URLs that still stall then are given up, not the worker


class FetchImage(Stage):
    """Fetch each row's URL; the bytes go to storage, the row gets the reference."""

    name = "fetch_image"
    version = 1
    reads = pa.schema([("url", pa.string())])
    writes = FETCHED
    ill_when_all_fail = False  # one dead host can be a whole shard: no sign that the worker is ill

    def __init__(self, fetcher: Callable[[], Fetcher], resources: Resources) -> None:
        """resources.batch_rows: rows whose images share one file; at least a shard's rows fetches them all at once."""
        self._build = fetcher
        self.resources = resources

    def setup(self) -> None:
        self.fetcher = self._build()
        self.fetcher.load()

    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        found = self.fetcher.fetch([row["url"] or "" for row in rows], DEADLINE_SHARE * self.resources.shard_timeout_s)
        return [{"image": f.image, "fetched_url": f.url} if isinstance(f, Fetched) else f for f in found]

    def close(self) -> None:
        self.fetcher.close()
