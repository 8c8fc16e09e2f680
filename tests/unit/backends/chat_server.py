"""A real chat-completions server on 127.0.0.1 with the tiny chat model behind it, and bad days to order.

``python -m tests.unit.backends.chat_server PORT_FILE JSON``: serves until its standard input ends. JSON: {"troubles": {name:
share of requests}, "stall_s": seconds, "seed": 0}. GET /stats says how often each trouble was served, and each nonsense.
"""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from aiohttp import web

from negscale.backends.tiny.chat import TinyChatConfig
from negscale.core.backend import ChatRequest, Reply, Turn
from negscale.core.image import decode

# (task, kind) -> text; each is one that real models or broken servers have given
NONSENSE: dict[str, tuple[str, ...]] = {
    "empty": ("", " ", "\n\n"),
    "cut_off": (
        "A dog is sitting next to a tree without",
        "The picture shows a",
        "There is no bench in the park and the",
    ),
    "other_language": ("公园里有一只狗,没有帽子。", "Собака в парке без шляпы.", "Un perro sin sombrero en el parque."),
    "fenced_json": (
        '```json\n{"answer": "no", "caption": "a dog with no hat"}\n```',
        '{"caption": "a dog with no hat"}',
    ),
    "refusal": (
        "I'm sorry, but I can't help with that.",
        "As an AI, I cannot process images.",
        "No puedo ayudar con eso.",
    ),
    "loop": ("no hat no hat no hat no hat no hat no hat", "the the the the the the the the"),
    "markup": ("<caption>a dog with no hat</caption>", "a dog with no hat<|eot_id|>"),
}
TROUBLES = ("stall", "http_429", "http_500", "cut_connection", "broken_json", "echo", "length", "filtered", *NONSENSE)


class Server:
    """Answers like the tiny model, except for the share of requests that each trouble is given."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.troubles: dict[str, float] = options.get("troubles", {})
        self.stall_s: float = options.get("stall_s", 5.0)
        self.rng = np.random.default_rng(options.get("seed", 0))
        self.counts: Counter[str] = Counter()
        self.in_flight = self.most_in_flight = 0
        self.seen: list[dict[str, Any]] = []
        self.nonsense: list[str] = []
        self.model = TinyChatConfig().build()

    async def chat(self, request: web.Request) -> web.StreamResponse:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await self._chat(request)
        finally:
            self.in_flight -= 1

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.seen = [*self.seen[-200:], {"at": time.time(), "auth": request.headers.get("Authorization"), **body}]
        trouble = self._trouble()
        self.counts[trouble] += 1
        match trouble:
            case "stall":
                await asyncio.sleep(self.stall_s)
            case "http_429":
                return web.json_response(
                    {"error": {"message": "slow down", "code": "rate_limit"}},
                    status=429,
                    headers={"Retry-After": "0.05"},
                )
            case "http_500":
                return web.Response(status=500, text="<html>Internal Server Error</html>")
            case "cut_connection":
                response = web.StreamResponse(headers={"Content-Length": "4000", "Content-Type": "application/json"})
                await response.prepare(request)
                await response.write(b'{"choices": [{"message": {"content": "a dog with')
                assert request.transport is not None
                request.transport.close()
                return response
            case "broken_json":
                return web.Response(
                    text='{"choices": [{"message": {"content": "a dog with no', content_type="application/json"
                )
        return web.json_response(self._answer(body, trouble))

    def _trouble(self) -> str:
        draw = float(self.rng.random())
        for name, share in self.troubles.items():
            draw -= share
            if draw < 0:
                return name
        return "none"

    def _answer(self, body: dict[str, Any], trouble: str) -> dict[str, Any]:
        finish = "stop"
        (reply,) = self.model.generate([ChatRequest(tuple(map(_turn, body["messages"])), body.get("seed", 0))])
        text = reply.text if isinstance(reply, Reply) else f"error: {reply.message}"
        if trouble in NONSENSE:
            texts = NONSENSE[trouble]
            text = texts[int(self.rng.random() * len(texts))]
        elif trouble == "echo":
            text = _turn(body["messages"][-1]).text
        elif trouble == "length":
            text, finish = text[: max(1, len(text) * 2 // 3)], "length"
        elif trouble == "filtered":
            text, finish = "", "content_filter"
        if trouble in (*NONSENSE, "echo", "length"):
            self.nonsense.append(text)
        asked = sum(len(str(message["content"])) for message in body["messages"])
        usage = {"prompt_tokens": asked // 4 + 1, "completion_tokens": len(text) // 4 + 1}
        message = {"role": "assistant", "content": text}
        return {
            "choices": [{"index": 0, "message": message, "finish_reason": finish}],
            "usage": usage,
            "model": body["model"],
        }

    async def stats(self, request: web.Request) -> web.Response:
        return web.json_response({
            "counts": self.counts, "most_in_flight": self.most_in_flight, "seen": self.seen, "nonsense": self.nonsense,
        })  # fmt: skip

    def app(self) -> web.Application:
        app = web.Application(client_max_size=64 << 20)
        app.router.add_post("/v1/chat/completions", self.chat)
        app.router.add_get("/stats", self.stats)
        return app


def _turn(message: dict[str, Any]) -> Turn:
    content = message["content"]
    if isinstance(content, str):
        return Turn(message["role"], content)
    text = "".join(part["text"] for part in content if part["type"] == "text")
    urls = [part["image_url"]["url"] for part in content if part["type"] == "image_url"]
    image = decode(base64.b64decode(urls[0].partition("base64,")[2])) if urls else None
    return Turn(message["role"], text, image)


class ServerProcess:
    """The server in a process of its own; ends with `close`, or with this process."""

    def __init__(self, folder: Path, **options: Any) -> None:
        port_file = folder / f"port-{time.monotonic_ns()}"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.unit.backends.chat_server", str(port_file), json.dumps(options)],
            stdin=subprocess.PIPE,
        )
        deadline = time.monotonic() + 60
        while not port_file.exists():
            assert self._process.poll() is None, "the chat server ended at once"
            assert time.monotonic() < deadline, "the chat server does not start"
            time.sleep(0.05)
        self.root = f"http://127.0.0.1:{port_file.read_text()}"
        self.base_url = f"{self.root}/v1"

    def stats(self) -> dict[str, Any]:
        import urllib.request

        with urllib.request.urlopen(f"{self.root}/stats", timeout=30) as response:
            return json.loads(response.read())

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)


async def main(port_file: Path, options: dict[str, Any]) -> None:
    runner = web.AppRunner(Server(options).app(), shutdown_timeout=0.5)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port: int = runner.addresses[0][1]
    part = port_file.with_suffix(".part")
    part.write_text(str(port))
    part.rename(port_file)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), json.loads(sys.argv[2])))
