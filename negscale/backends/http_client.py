"""HTTP posts that survive a bad server: one event loop, bounded concurrency, pace, time limits, retries.

Any number of threads may block in `post_all`; their requests share the loop, the connections and the limits. A request
that goes wrong is a `Fault`, never an exception; `FatalError` is for what no request can pass (a refused key).
"""

from __future__ import annotations

import asyncio
import email.utils
import json
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from pydantic import Field

from negscale.core.config import Config
from negscale.core.errors import FatalError
from negscale.core.rng import rng_for
from negscale.core.stage import Fault

TRANSIENT = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529})
_EXCERPT = 300
_BURST_S = 2.0  # so many seconds' worth of requests may start at once
_T = TypeVar("_T")


class HttpClientConfig(Config):
    """Time limits, retries and pace of one worker. Bears no identity."""

    bears_identity: ClassVar[bool] = False

    max_in_flight: int = Field(default=64, ge=1)
    """Requests that the server holds at the same time."""
    connect_timeout_s: float = Field(default=10.0, gt=0)
    read_timeout_s: float = Field(default=120.0, gt=0)
    """Silence after which an attempt is given up; a server that does not stream is silent while it generates."""
    total_timeout_s: float = Field(default=300.0, gt=0)
    """All attempts of one request with the waits between them. Keep it well below runtime.shard_timeout_s."""
    attempts: int = Field(default=6, ge=1)
    """Times that a request is sent before it counts as failed."""
    backoff_s: float = Field(default=0.5, gt=0)
    """The n-th retry waits a random time between 0 and backoff_s * 2^(n-1) (exponential back-off, full jitter)."""
    backoff_max_s: float = Field(default=30.0, gt=0)
    requests_per_minute: float | None = Field(default=None, gt=0)
    """Rate limit of one worker; with it the stage gets one worker unless runtime.actors says otherwise."""
    tokens_per_minute: float | None = Field(default=None, gt=0)
    """Rate limit of one worker over prompt and answer tokens, estimated before and corrected after each answer."""
    calls: int = Field(default=4, ge=1)
    """`generate` calls that a worker runs at once, one shard each, so that the server always has work."""
    batch_rows: int = Field(default=64, ge=1)
    """Requests of one `generate` call."""


@dataclass(frozen=True, slots=True)
class Post:
    """One request. `body` is called off the loop's thread, right before the first attempt."""

    body: Callable[[], Mapping[str, Any]]
    tokens: int  # estimate, for the pace
    seed: int  # draws the waits


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of an answered request, and the tokens that it really took (None = not said)."""

    value: Any
    tokens: int | None = None


class Pace:
    """Spreads starts over time so that no minute holds more than its share; the generic cell rate algorithm."""

    def __init__(self, per_minute: float | None) -> None:
        self._interval_s = 60.0 / per_minute if per_minute else 0.0
        self._due_s = 0.0

    def wait_s(self, cost: float, now_s: float) -> float:
        """Seconds until a request of this cost may start; counts it as started then."""
        if not self._interval_s:
            return 0.0
        start = max(self._due_s, now_s - _BURST_S)
        self._due_s = start + cost * self._interval_s
        return max(0.0, start - now_s)

    def correct(self, by: float) -> None:
        """A request took `by` more (less, when negative) than was counted."""
        self._due_s += by * self._interval_s


class HttpClient:
    """POSTs JSON to one URL. Raises FatalError from `post_all` when closed, or when `read` does."""

    def __init__(
        self, url: str, headers: Mapping[str, str], config: HttpClientConfig,
        read: Callable[[int, Any, str], Answer | Fault | None],
    ) -> None:  # fmt: skip
        """read: (status, parsed JSON or None, text) -> the answer, or a Fault, or None = try again."""
        self._url, self._config, self._read = url, config, read
        self._requests, self._tokens = Pace(config.requests_per_minute), Pace(config.tokens_per_minute)
        self._not_before_s = 0.0  # the server asked everybody to wait until then
        self._closed = False
        self._calls: set[asyncio.Task[Any]] = set()  # touched by the loop's thread alone
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="http-client", daemon=True)
        self._thread.start()
        self._session: Any = self._wait(self._open(dict(headers)))

    def post_all(self, posts: Sequence[Post]) -> list[Any]:
        """The value of each post's answer, or its Fault, in order. Blocks."""
        if self._closed:
            raise FatalError(f"the client of {self._url} was closed")
        return self._wait(self._all(posts))

    def close(self) -> None:
        """Drop the connections; calls that still wait get a FatalError."""
        if self._closed:
            return
        self._closed = True
        self._wait(self._shut_down())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _wait(self, work: Coroutine[Any, Any, _T]) -> _T:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # an interrupted caller must not leave its requests behind
            raise

    async def _open(self, headers: Mapping[str, str]) -> Any:
        import aiohttp

        config = self._config
        self._slots = asyncio.Semaphore(config.max_in_flight)
        limits = aiohttp.ClientTimeout(
            total=None, sock_connect=config.connect_timeout_s, sock_read=config.read_timeout_s
        )
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=limits, headers=headers, trust_env=True
        )

    async def _shut_down(self) -> None:
        for call in self._calls:
            call.cancel()
        if self._calls:
            await asyncio.wait(self._calls)
        await self._session.close()

    async def _all(self, posts: Sequence[Post]) -> list[Any]:
        call = asyncio.current_task()
        assert call is not None
        if self._closed:  # between the caller's look and now
            raise FatalError(f"the client of {self._url} was closed")
        self._calls.add(call)
        tasks = [asyncio.create_task(self._one(post)) for post in posts]
        try:
            if tasks:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        except asyncio.CancelledError:
            raise FatalError(f"the client of {self._url} was closed with requests in it") from None
        finally:
            self._calls.discard(call)
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        for result in ended:
            if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
                raise result  # one FatalError ends the call
        return ended

    async def _one(self, post: Post) -> Any:
        config = self._config
        body: Mapping[str, Any] | None = None
        deadline, attempt, trouble = 0.0, 0, Fault("http_error", "not sent")
        for attempt in range(config.attempts):
            await self._take_turn(post)
            async with self._slots:  # held while the server works, free while this request waits
                if body is None:
                    body = await asyncio.to_thread(post.body)
                now = time.monotonic()
                deadline = deadline or now + config.total_timeout_s
                answer, wait_s = await self._attempt(body, max(0.001, deadline - now))
            if wait_s is None:
                return self._settled(answer, post)
            assert isinstance(answer, Fault)
            trouble = answer
            share = float(rng_for(post.seed, "backoff", attempt).random())
            pause = max(wait_s, share * min(config.backoff_max_s, config.backoff_s * 2**attempt))
            if attempt + 1 == config.attempts or time.monotonic() + pause > deadline:
                break
            await asyncio.sleep(pause)
        return Fault(trouble.kind, f"{trouble.message}; gave up after {attempt + 1} attempts", retryable=True)

    async def _take_turn(self, post: Post) -> None:
        now = time.monotonic()
        wait = max(self._requests.wait_s(1, now), self._tokens.wait_s(post.tokens, now), self._not_before_s - now)
        if wait > 0:
            await asyncio.sleep(wait)

    def _settled(self, answer: Answer | Fault, post: Post) -> Any:
        if isinstance(answer, Fault):
            return answer
        if answer.tokens is not None:
            self._tokens.correct(answer.tokens - post.tokens)
        return answer.value

    async def _attempt(self, body: Mapping[str, Any], left_s: float) -> tuple[Answer | Fault, float | None]:
        """(answer, None), or (retryable Fault, seconds that the server wants us to wait at least)."""
        import aiohttp

        try:
            async with asyncio.timeout(left_s), self._session.post(self._url, json=body) as response:
                status, wanted_s = response.status, retry_after_s(response.headers, time.time())
                text = (await response.read()).decode("utf-8", "replace")
        except TimeoutError:
            return Fault("timeout", f"no answer from {self._url} in time", retryable=True), 0.0
        except (aiohttp.ClientError, OSError) as error:
            what = f"connection to {self._url} failed: {type(error).__name__}: {error}"
            return Fault("connection_error", what, retryable=True), 0.0
        if status in TRANSIENT and wanted_s:
            self._not_before_s = max(self._not_before_s, time.monotonic() + min(wanted_s, self._config.total_timeout_s))
        answer = self._read(status, _json(text), text)
        if answer is not None:
            return answer, None
        kind = "invalid_reply" if status < 400 else "rate_limited" if status == 429 else "server_error"
        return Fault(kind, f"HTTP {status}: {text[:_EXCERPT]!r}", retryable=True), wanted_s


def retry_after_s(headers: Mapping[str, str], now_s: float) -> float:
    """Seconds that the server wants us to wait; 0 when it does not say.

    >>> retry_after_s({"Retry-After": "7"}, 0), retry_after_s({"retry-after-ms": "1500"}, 0), retry_after_s({}, 0)
    (7.0, 1.5, 0.0)
    >>> retry_after_s({"Retry-After": "Thu, 01 Jan 1970 00:01:00 GMT"}, 20)
    40.0
    """
    for name, scale in (("retry-after-ms", 0.001), ("Retry-After", 1.0)):
        text = headers.get(name)
        if not text:
            continue
        try:
            return max(0.0, float(text) * scale)
        except ValueError:
            pass
        try:
            return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - now_s)
        except ValueError:
            pass
    return 0.0


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
