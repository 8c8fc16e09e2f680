"""One URL to one body: redirects, limits, time-outs, retries, and what each answer of a server means.

`Reject` is what the web says (gone, opted out, no image); `Fault` is what broke on the way. Imports aiohttp: loaded by
workers that fetch, and by nobody else.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import Any

import aiohttp
from yarl import URL

from negscale.backends.fetch_address import CheckedResolver, Lookup, PrivateAddressError, check_literal, system_lookup
from negscale.backends.fetch_headers import opted_out, retry_after_s
from negscale.backends.fetch_rules import FetchRules
from negscale.core.image_header import MAGIC_BYTES, sniff
from negscale.core.rng import rng_for
from negscale.core.stage import Fault, Reject
from negscale.storage.blobs import Spool

MEMORY_BYTES = 1 << 20  # a body in flight that is longer continues on disk
KEEPALIVE_S = 2.0  # URL lists name many hosts once: idle connections must not pile up
_REDIRECTS = (301, 302, 303, 307, 308)
_GONE = (404, 410)
_FORBIDDEN = (401, 402, 403, 451)
_LATER = (408, 425)  # beside 429 and 5xx
_UNKNOWN_HOST = (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))
_TYPES = ("application/octet-stream", "binary/octet-stream", "")  # beside image/*: a claim of nothing, the bytes decide


class _Refused(Exception):
    """The web says no."""


@dataclass
class _Transient(Exception):
    """Broke in a way that another try may mend."""

    kind: str
    message: str
    wait_s: float | None = None  # the server's own wish


@dataclass(frozen=True, slots=True)
class Body:
    """The bytes of one image as they wait in a `Spool`."""

    at: int
    length: int
    extension: str
    url: str  # where the redirects ended


class HostSlots:
    """At most `limit` requests to one host at once, and none while it asked for a pause. Idle hosts are forgotten."""

    @dataclass
    class _Host:
        slots: asyncio.Semaphore
        users: int = 0
        open_at: float = 0.0

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._hosts: dict[str, HostSlots._Host] = {}

    async def enter(self, name: str) -> None:
        """Take one of the host's slots; `leave` gives it back."""
        if (host := self._hosts.get(name)) is None:
            host = self._hosts[name] = self._Host(asyncio.Semaphore(self._limit))
        host.users += 1
        try:
            await host.slots.acquire()
        except BaseException:
            self._forget(name, host)
            raise
        try:
            while host.open_at and (left := host.open_at - asyncio.get_running_loop().time()) > 0:
                await asyncio.sleep(left)
        except BaseException:
            self.leave(name)
            raise

    def leave(self, name: str) -> None:
        """Give the slot back."""
        host = self._hosts[name]
        host.slots.release()
        self._forget(name, host)

    def _forget(self, name: str, host: _Host) -> None:
        host.users -= 1
        if not host.users:
            del self._hosts[name]

    def pause(self, name: str, seconds: float) -> None:
        """Start no request to the host for `seconds`."""
        host = self._hosts[name]
        host.open_at = max(host.open_at, asyncio.get_running_loop().time() + seconds)


class HttpFetcher:
    """Fetches URLs on one event loop. Create, use and close it there."""

    def __init__(self, config: FetchRules, lookup: Lookup = system_lookup) -> None:
        self._config, self._limits = config, config.limits
        self._allowed = frozenset(name.lower() for name in config.allow_private_hosts)
        self._hosts = HostSlots(self._limits.per_host)
        self._slots = asyncio.Semaphore(self._limits.concurrency)
        connector = aiohttp.TCPConnector(
            limit=0, resolver=CheckedResolver(self._allowed, lookup), ssl=self._limits.verify_tls,
            keepalive_timeout=KEEPALIVE_S,
        )  # fmt: skip
        timeout = aiohttp.ClientTimeout(sock_connect=self._limits.connect_s, sock_read=self._limits.read_s)
        self._session = aiohttp.ClientSession(
            connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False,
            headers={"User-Agent": self._limits.user_agent, "Accept": "image/*", "Accept-Encoding": "identity"},
        )  # fmt: skip

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def fetch_all(self, urls: Sequence[str], spool: Spool, deadline_s: float) -> list[Body | Reject | Fault]:
        """For each URL its body in `spool`, or why there is none. Equal URLs are fetched once."""
        tasks = {url: asyncio.create_task(self._with_retries(url, spool)) for url in dict.fromkeys(urls)}
        try:
            await asyncio.wait(tasks.values(), timeout=deadline_s, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            late = {url for url, task in tasks.items() if not task.done()}
            for url in late:
                tasks[url].cancel()
            await asyncio.gather(*(tasks[url] for url in late), return_exceptions=True)
        for url, task in tasks.items():
            if url not in late and (error := task.exception()) is not None:
                raise error
        given_up = Fault("not_reached", f"the shard's time ({deadline_s:.0f} s) was up before this URL was done", True)
        return [given_up if url in late else tasks[url].result() for url in urls]

    async def _with_retries(self, url: str, spool: Spool) -> Body | Reject | Fault:
        limits, fault = self._limits, Fault("not_reached", "")
        for attempt in range(limits.retries + 1):
            try:
                return await self._try(url, spool)
            except _Transient as broken:
                fault = Fault(broken.kind, broken.message, retryable=True)
                if (broken.wait_s or 0.0) > limits.max_wait_s:
                    return fault
                if attempt < limits.retries:
                    jitter = 0.5 + rng_for(0, url, attempt).random()
                    backoff = min(limits.backoff_s * 2**attempt, limits.max_wait_s) * jitter
                    await asyncio.sleep(max(backoff, broken.wait_s or 0.0))
        return fault

    async def _try(self, url: str, spool: Spool) -> Body | Reject | Fault:
        """One attempt; raises _Transient."""
        try:
            return await self._follow(url, spool)
        except _Refused as no:
            return Reject(str(no))
        except PrivateAddressError:
            return Reject("private_address")
        except (aiohttp.InvalidURL, UnicodeError):
            return Reject("bad_url")
        except TimeoutError as error:
            raise _Transient("timeout", f"{error}" or f"no whole answer in {self._limits.total_s:g} s") from None
        except aiohttp.ClientConnectorDNSError as error:
            if getattr(error.os_error, "errno", None) in _UNKNOWN_HOST:
                return Fault("unknown_host", f"{error.os_error}")
            raise _Transient("dns_error", f"{error.os_error}") from None
        except (aiohttp.ClientSSLError, aiohttp.ClientConnectorCertificateError) as error:
            return Fault("tls_error", f"{error}")
        except aiohttp.ClientPayloadError as error:
            raise _Transient("truncated_body", f"{error}") from None
        except (aiohttp.ClientConnectionError, ConnectionError) as error:
            raise _Transient("connection_error", f"{type(error).__name__}: {error}") from None
        except aiohttp.ClientError as error:
            return Fault("bad_response", f"{type(error).__name__}: {error}")

    async def _follow(self, text: str, spool: Spool) -> Body:
        url = _parse(text)
        for _ in range(self._config.max_redirects + 1):
            host = url.host or ""
            check_literal(host, self._allowed)
            await self._hosts.enter(host)
            try:
                async with self._slots, asyncio.timeout(self._limits.total_s):
                    answer = await self._request(url, host, spool)
            finally:
                self._hosts.leave(host)
            if isinstance(answer, Body):
                return answer
            url = answer
        raise _Refused("too_many_redirects")

    async def _request(self, url: URL, host: str, spool: Spool) -> Body | URL:
        """The body, or where a redirect points."""
        async with self._session.get(url, allow_redirects=False) as response:
            status = response.status
            if status in _REDIRECTS:
                if not (target := response.headers.get("Location")):
                    raise _Refused("bad_redirect")
                return _parse(target, url)
            if status == 429 or status >= 500 or status in _LATER:
                wait_s = retry_after_s(response.headers.get("Retry-After"))
                if wait_s and wait_s <= self._limits.max_wait_s:
                    self._hosts.pause(host, wait_s)  # it is the client that is too fast, not this URL
                raise _Transient("rate_limited" if status == 429 else "server_error", f"HTTP {status}", wait_s)
            if status != 200:
                raise _Refused("gone" if status in _GONE else "forbidden" if status in _FORBIDDEN else f"http_{status}")
            if opted_out(response.headers.getall("X-Robots-Tag", ()), self._config.opt_out, self._config.robot):
                raise _Refused("opt_out")
            kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
            if not kind.startswith("image/") and kind not in _TYPES:
                raise _Refused("not_an_image")
            if (response.content_length or 0) > self._config.max_bytes:
                raise _Refused("too_large")
            return await self._body(response, spool)

    async def _body(self, response: aiohttp.ClientResponse, spool: Spool) -> Body:
        """The bytes into the spool; a page that poses as an image is left after its first bytes."""
        size, head, extension, body = 0, b"", None, _Growing()
        with body:
            async for chunk in response.content.iter_any():
                size += len(chunk)
                if size > self._config.max_bytes:
                    raise _Refused("too_large")
                if extension is None:
                    head += chunk[:MAGIC_BYTES]
                    extension = sniff(head)
                    if extension is None and len(head) >= MAGIC_BYTES:
                        raise _Refused("not_an_image")
                body.add(chunk)
            if extension is None:
                raise _Refused("not_an_image")
            at, length = spool.append(body.chunks())
        return Body(at, length, extension, str(response.url))


class _Growing:
    """A body in flight: in memory while it is short, then in a temporary file."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._size = 0
        self._file: Any = None

    def __enter__(self) -> None:
        return

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, chunk: bytes) -> None:
        self._chunks.append(chunk)
        self._size += len(chunk)
        if self._size > MEMORY_BYTES:
            if self._file is None:
                self._file = TemporaryFile(prefix="negscale-body-")  # noqa: SIM115
            self._file.writelines(self._chunks)
            self._chunks, self._size = [], 0

    def chunks(self) -> Iterator[bytes]:
        """The body from its start."""
        if self._file is not None:
            self._file.seek(0)
            while block := self._file.read(MEMORY_BYTES):
                yield block
        yield from self._chunks


def _parse(text: str, base: URL | None = None) -> URL:
    bad = _Refused("bad_url" if base is None else "bad_redirect")
    try:
        url = URL(text.strip())
        url = base.join(url) if base is not None else url
        if url.scheme not in ("http", "https") or not url.host:
            raise bad
    except ValueError:  # a port that is none, a host that cannot be encoded
        raise bad from None
    return url
