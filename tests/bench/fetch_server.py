"""The server of the fetch bench: as little work a request as Python allows, so that the client is what is measured.

``python -m tests.bench.fetch_server PORT_FILE BYTES`` answers GET /N with a JPEG of BYTES bytes of its own for every N.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.web_server import body_of


class Answers(asyncio.Protocol):
    """HTTP/1.1 with connections kept open; requests without a body."""

    def __init__(self, picture: bytes, size_bytes: int) -> None:
        self._picture, self._pad = picture, bytes(size_bytes)
        head = f"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: {size_bytes}\r\n\r\n"
        self._head, self._size, self._buffer = head.encode(), size_bytes, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            number = self._buffer[: self._buffer.index(b" HTTP/")].rpartition(b"/")[2]
            self._buffer = self._buffer[end + 4 :]
            own = self._picture + b"#" + number + b"#"
            self._transport.writelines([self._head, own, self._pad[: self._size - len(own)]])


async def serve(port_file: Path, size_bytes: int) -> None:
    """Listen on a free port of this machine until terminated."""
    picture = body_of(0).removesuffix(b"#0#")
    assert size_bytes > len(picture) + 12, f"bodies have at least {len(picture) + 13} bytes"
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Answers(picture, size_bytes), "127.0.0.1", 0, backlog=1024)
    aside = port_file.with_suffix(".tmp")
    aside.write_text(str(server.sockets[0].getsockname()[1]))
    aside.rename(port_file)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2])))
