"""A small web with every bad habit of the large one, in a process of its own: ``python -m tests.web_server FOLDER``.

The path says what happens: /image/7 is a JPEG of its own bytes, /gone/7 a 404, and so on (`WEB` below). It listens on
127.0.0.1 and, at the same port, on 127.0.0.2, which stands for a private neighbour. FOLDER/port holds the port once it
listens, FOLDER/access.log a line "ADDRESS PATH" for each request. POST /heal mends what is /sick, /stall or /cut.
"""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from negscale.core.image import encode

ADDRESSES = ("127.0.0.1", "127.0.0.2")
REPO = Path(__file__).resolve().parents[1]
HEIGHT_PX, WIDTH_PX = 60, 80


def body_of(number: int, size_bytes: int = 0) -> bytes:
    """A JPEG that no other number has: bytes after its end count as the file's."""
    noise = np.random.default_rng(3).integers(0, 256, (HEIGHT_PX, WIDTH_PX, 3), dtype=np.uint8)
    return _pad(encode(noise, "jpeg"), number, size_bytes)


def _pad(picture: bytes, number: int, size_bytes: int) -> bytes:
    return (picture + f"#{number}#".encode()).ljust(size_bytes, b"\0")


class Web:
    """The handlers; a method per first part of the path."""

    def __init__(self, log: IO[str]) -> None:
        self._log, self._healed, self._seen = log, False, Counter[str]()
        self._picture = body_of(0).removesuffix(b"#0#")

    async def handle(self, request: Any) -> Any:
        from aiohttp import web

        address = request.transport.get_extra_info("sockname")[0]
        self._log.write(f"{address} {request.path}\n")
        self._log.flush()
        self._seen[request.path] += 1
        if request.path == "/heal":
            self._healed = True
            return web.Response()
        kind, number = request.path.strip("/").split("/")
        return await getattr(self, kind)(request, int(number))

    def _body(self, request: Any, number: int) -> bytes:
        return _pad(self._picture, number, int(request.query.get("bytes", 0)))

    async def image(self, request: Any, number: int, **headers: str) -> Any:
        from aiohttp import web

        return web.Response(body=self._body(request, number), content_type="image/jpeg", headers=headers)

    async def untyped(self, request: Any, number: int) -> Any:
        from aiohttp import web

        return web.Response(body=self._body(request, number), content_type="application/octet-stream")

    async def gone(self, request: Any, number: int) -> Any:
        from aiohttp import web

        return web.Response(status=410 if number % 2 else 404)

    async def forbidden(self, request: Any, number: int) -> Any:
        from aiohttp import web

        return web.Response(status=403)

    async def moved(self, request: Any, number: int) -> Any:
        from aiohttp import web

        return web.Response(status=(301, 302, 307, 308)[number % 4], headers={"Location": f"../image/{number}"})

    async def circle(self, request: Any, number: int) -> Any:
        from aiohttp import web

        return web.Response(status=302, headers={"Location": request.path})

    async def inwards(self, request: Any, number: int) -> Any:
        from aiohttp import web

        port = request.transport.get_extra_info("sockname")[1]
        places = (
            f"http://127.0.0.2:{port}/image/{number}", "http://169.254.169.254/latest/meta-data/",
            f"http://localhost:{port}/image/{number}", f"http://[::ffff:127.0.0.2]:{port}/image/{number}",
        )  # fmt: skip
        return web.Response(status=302, headers={"Location": places[number % len(places)]})

    async def page(self, request: Any, number: int) -> Any:
        from aiohttp import web

        return web.Response(text="<html>no image here</html>", content_type="text/html")

    async def liar(self, request: Any, number: int) -> Any:
        from aiohttp import web

        return web.Response(body=b"<html>this claims to be an image</html>", content_type="image/jpeg")

    async def optout(self, request: Any, number: int) -> Any:
        return await self.image(request, number, **{"X-Robots-Tag": "otherbot: nofollow, negscale: noai"})

    async def large(self, request: Any, number: int) -> Any:
        from aiohttp import web

        if number % 2:
            return web.Response(headers={"Content-Length": str(10**10), "Content-Type": "image/jpeg"})
        response = web.StreamResponse(headers={"Content-Type": "image/jpeg"})  # chunked: the length is not told
        await response.prepare(request)
        await response.write(self._picture)
        for _ in range(1000):
            await response.write(bytes(1 << 16))
        return response

    async def stall(self, request: Any, number: int) -> Any:
        from aiohttp import web

        if self._healed:
            return await self.image(request, number)
        response = web.StreamResponse(headers={"Content-Type": "image/jpeg", "Content-Length": "100000"})
        if number % 2:
            await response.prepare(request)
            await response.write(self._picture[:100])
        await asyncio.sleep(3600)
        return response

    async def cut(self, request: Any, number: int) -> Any:
        from aiohttp import web

        if self._healed:
            return await self.image(request, number)
        response = web.StreamResponse(headers={"Content-Type": "image/jpeg", "Content-Length": "100000"})
        await response.prepare(request)
        await response.write(self._picture)
        request.transport.close()
        return response

    async def hangup(self, request: Any, number: int) -> Any:
        request.transport.abort()
        await asyncio.sleep(0)
        return await self.image(request, number)

    async def busy(self, request: Any, number: int) -> Any:
        """429 once, as patient clients deserve."""
        from aiohttp import web

        if self._seen[request.path] == 1:
            return web.Response(status=429, headers={"Retry-After": "1"})
        return await self.image(request, number)

    async def later(self, request: Any, number: int) -> Any:
        """429 that asks for more patience than anybody has, until /heal."""
        from aiohttp import web

        if not self._healed:
            return web.Response(status=429, headers={"Retry-After": "86400"})
        return await self.image(request, number)

    async def sick(self, request: Any, number: int) -> Any:
        from aiohttp import web

        if not self._healed:
            return web.Response(status=500 + number % 4)
        return await self.image(request, number)


async def _serve(folder: Path) -> None:
    from aiohttp import web

    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)  # clients that hang up are what it is there for
    with (folder / "access.log").open("w") as log:
        runner = web.ServerRunner(web.Server(Web(log).handle))
        await runner.setup()
        first = web.TCPSite(runner, ADDRESSES[0], 0, backlog=1024)
        await first.start()
        port = runner.addresses[0][1]
        await web.TCPSite(runner, ADDRESSES[1], port).start()
        (folder / "port.tmp").write_text(str(port))
        (folder / "port.tmp").rename(folder / "port")
        await asyncio.Event().wait()


class RunningWeb:
    """The server's address and what it was asked."""

    def __init__(self, folder: Path, port: int) -> None:
        self._log, self.port = folder / "access.log", port
        self.root = f"http://{ADDRESSES[0]}:{port}"

    def requests(self) -> list[tuple[str, str]]:
        """(address, path) of each request so far."""
        return [(a, p) for a, p in (line.split(" ", 1) for line in self._log.read_text().splitlines())]

    def heal(self) -> None:
        """What was sick, stalled, cut or asked for patience is well from now on."""
        from urllib.request import Request, urlopen

        urlopen(Request(f"{self.root}/heal", method="POST"), timeout=30).read()


@contextmanager
def running_web(folder: Path) -> Iterator[RunningWeb]:
    """Start the server; ends it, and only it, afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen([sys.executable, "-m", "tests.web_server", str(folder)], cwd=REPO)
    try:
        deadline = time.monotonic() + 60
        while not (folder / "port").exists():
            assert process.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.05)
        yield RunningWeb(folder, int((folder / "port").read_text()))
    finally:
        process.terminate()
        process.wait(30)


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))
