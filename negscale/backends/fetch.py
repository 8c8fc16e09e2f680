"""The `Fetcher` that goes to the web: aiohttp on an event loop of its own, bodies into one tar per batch of rows.

A worker runs several batches at once on the one loop, so that the stalled URLs at the end of a batch leave no gap.
"""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal

from negscale.backends.fetch_rules import FetchRules
from negscale.core.config import Location
from negscale.core.errors import ConfigError
from negscale.core.fetch import Fetched
from negscale.core.image import ImageError
from negscale.core.image_header import size_px
from negscale.core.stage import Fault, Reject, Resources
from negscale.storage.blobs import Spool, TarBlob
from negscale.storage.folder import LocalFolder, open_folder

if TYPE_CHECKING:
    from negscale.backends.fetch_http import Body, HttpFetcher

IMAGES = "images"  # folder of the tars, below the store
BATCHES = 4  # at once in a worker
_STALE_S = 6 * 3600.0


class WebFetcherConfig(FetchRules):
    """Images from the open web."""

    kind: Literal["web"] = "web"
    spool: Location = ""
    """Folder for the bodies of unfinished batches; empty = the system's (TMPDIR)."""

    def build(self, store: str = "") -> WebFetcher:
        """The fetcher; images go to STORE/images."""
        return WebFetcher(self, store)

    def resources(self) -> Resources:
        """A batch is a whole shard: its URLs wait side by side."""
        return Resources(cpus=1.0, calls=BATCHES, batch_rows=1_000_000, row_ms=10.0)


class WebFetcher:
    """See `negscale.core.fetch.Fetcher`. Thread-safe between `load` and `close`."""

    exact = False  # the web changes
    id = "web"

    def __init__(self, config: WebFetcherConfig, store: str) -> None:
        self._config, self._store = config, store
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._http: HttpFetcher | None = None

    def load(self) -> None:
        """Start the event loop. Raises ConfigError without aiohttp."""
        if not self._store:
            raise ConfigError("the fetcher has no folder to store images in; build it with build(store=URI)")
        self._folder = open_folder(self._store)
        if isinstance(self._folder, LocalFolder):
            self._folder.sweep_temporary(IMAGES, _STALE_S)  # what killed workers left
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="negscale-fetch", daemon=True)
        self._thread.start()
        self._http = self._run(self._open())
        # thousands of tasks a second bring full collections often, and each would walk all loaded libraries
        gc.freeze()

    async def _open(self) -> HttpFetcher:
        try:
            from negscale.backends.fetch_http import HttpFetcher
        except ModuleNotFoundError as error:
            raise ConfigError(f"fetching needs {error.name}: pip install aiohttp") from error
        return HttpFetcher(self._config)

    def _run(self, work: Any) -> Any:
        assert self._loop is not None
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # an interrupted caller leaves no requests behind
            raise

    def fetch(self, urls: Sequence[str], deadline_s: float) -> list[Fetched | Reject | Fault]:
        """Fetch all, then store the bodies in the order of the URLs as one object.

        Hashes and headers are taken here, in the caller's thread: the loop goes on with the URLs of other callers.
        """
        assert self._http is not None
        spool = Spool(self._config.spool)
        try:
            found = self._run(self._http.fetch_all(urls, spool, deadline_s))
            if all(isinstance(item, (Reject, Fault)) for item in found):
                return found
            with TarBlob(self._folder, IMAGES) as blob:
                refs = [item if isinstance(item, (Reject, Fault)) else self._keep(item, spool, blob) for item in found]
                uri = blob.commit() if any(isinstance(ref, dict) for ref in refs) else ""
        finally:
            spool.close()
        return [
            Fetched({**ref, "uri": uri}, item.url) if isinstance(ref, dict) else ref
            for ref, item in zip(refs, found, strict=True)
        ]

    def _keep(self, body: Body, spool: Spool, blob: TarBlob) -> dict[str, Any] | Reject:
        """The IMAGE struct but for its uri."""
        data = spool.read(body.at, body.length)
        try:
            height_px, width_px = size_px(data)
        except ImageError as error:
            return Reject("too_large" if error.kind == "oversized_image" else "not_an_image")
        if height_px * width_px > self._config.max_pixels:
            return Reject("too_large")
        digest = sha256(data).digest()
        return {
            "uri": "", "offset": blob.add(data, digest, body.extension), "length": len(data), "sha256": digest,
            "height_px": height_px, "width_px": width_px,
        }  # fmt: skip

    def close(self) -> None:
        """End the connections and the loop."""
        if self._loop is None or self._thread is None:
            return
        if self._http is not None:
            self._run(self._http.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10.0)
        self._loop = self._thread = self._http = None
