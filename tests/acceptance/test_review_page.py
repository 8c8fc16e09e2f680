"""Promises of `review` in a real browser: keys work, answers last, hostile captions stay text."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from negscale.datasets.images import ImageReader
from negscale.review.sample import draw_sample
from negscale.review.server import ReviewServer
from negscale.review.session import Session
from negscale.review.summary import record
from tests.acceptance.verdict import verdict
from tests.unit.exports.folders import make_run, row

ATTACKS = (
    "<script>window.attacked = 1</script> no dog", '<img src=x onerror="window.attacked = 2"> no dog',
    "<svg onload='window.attacked = 3'> no dog", "javascript:window.attacked=4 no </span></textarea><iframe srcdoc='<b>'>",
)  # fmt: skip


@contextlib.contextmanager
def chromium(scratch: Path) -> Iterator[int]:
    """A headless browser; gives the port of its DevTools. Skips where no Chromium is installed."""
    program = next(
        (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
    )
    if program is None:
        pytest.skip("no Chromium on this machine")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-port=0"]
    browser = subprocess.Popen(
        [program, *options, "--window-size=1440,860", f"--user-data-dir={scratch}", "about:blank"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        port_file, deadline = scratch / "DevToolsActivePort", time.monotonic() + 60
        while not port_file.exists() or "\n" not in port_file.read_text():
            assert time.monotonic() < deadline, "Chromium does not start"
            time.sleep(0.1)
        yield int(port_file.read_text().split("\n")[0])
    finally:
        browser.terminate()
        browser.wait(20)


class Tab:
    """One page of the browser, driven as a person would."""

    def __init__(self, socket: Any) -> None:
        self._socket, self._number = socket, 0

    async def send(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        await self._socket.send_str(json.dumps({"id": self._number, "method": method, "params": params}))
        while (reply := json.loads((await self._socket.receive(timeout=30)).data)).get("id") != self._number:
            pass
        assert "error" not in reply, reply
        return reply["result"]

    async def value(self, expression: str) -> Any:
        found = await self.send("Runtime.evaluate", expression=expression, returnByValue=True)
        return found["result"].get("value")

    async def wait_for(self, expression: str) -> None:
        deadline = time.monotonic() + 30
        while not await self.value(expression):
            assert time.monotonic() < deadline, f"never true: {expression}"
            await asyncio.sleep(0.05)

    async def press(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            await self.send("Input.dispatchKeyEvent", type=kind, key=key, text=key if kind == "keyDown" else "")


async def _drive(port: int, url: str, picture: Path) -> dict[str, Any]:
    import aiohttp

    async with aiohttp.ClientSession() as http:
        async with http.get(f"http://127.0.0.1:{port}/json/list") as answer:
            pages = [page for page in await answer.json() if page["type"] == "page"]
        async with http.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=0) as socket:
            tab = Tab(socket)
            await tab.send("Page.enable")
            await tab.send("Page.navigate", url=url)
            await tab.wait_for("document.querySelector('.text.main') !== null")
            shown = []
            for number, key in enumerate("ynsy"):
                await tab.wait_for(f"document.title.startsWith('{number + 1} of')")
                shown.append(await tab.value("document.querySelector('.text.main .value').textContent"))
                await tab.press(key)
            await tab.wait_for("document.getElementById('message').textContent.includes('All rows')")
            await tab.press("u")
            await tab.wait_for("document.getElementById('message').textContent === 'Taken back.'")
            await tab.wait_for("document.querySelector('figure img')?.naturalWidth > 0")
            shot = await tab.send("Page.captureScreenshot", format="png")
            picture.write_bytes(base64.b64decode(shot["data"]))
            return {
                "shown": shown,
                "attacked": await tab.value("window.attacked ?? null"),
                "injected": await tab.value("document.querySelectorAll('main script, main svg, main iframe').length"),
                "images": await tab.value("document.querySelectorAll('img').length"),
                "precision": await tab.value("document.getElementById('precision').textContent"),
                "marked": await tab.value("document.querySelectorAll('.text.main mark').length"),
            }


@pytest.mark.acceptance
def test_a_reviewer_works_by_keys_and_hostile_captions_stay_text(tmp_path: Path) -> None:
    drawn = {"uri": "toyworld:0/1", "offset": None, "length": None, "sha256": None, "height_px": 96, "width_px": 96}
    rows = [
        row(f"r{n}", "1", "1", image=drawn, caption=attack.replace("no dog", ""), negated_caption=attack)
        for n, attack in enumerate(ATTACKS)
    ]
    run = make_run(tmp_path / "run", [rows])
    picture = Path(os.environ.get("NEGSCALE_REVIEW_PNG", tmp_path / "page.png"))
    session = Session(run, draw_sample(run, 10), ImageReader(), "ann")
    with chromium(tmp_path / "browser") as port, ReviewServer(session) as server:
        seen = asyncio.run(_drive(port, server.url, picture))
    figures = record(run)
    verdict(
        "scripts in captions do not run in a browser, and show as the text that they are",
        seen["attacked"] is None and seen["injected"] == 0 and seen["images"] == 1 and sorted(seen["shown"]) == sorted(ATTACKS),
        captions=len(ATTACKS), attacked=seen["attacked"], injected=seen["injected"],
    )  # fmt: skip
    verdict(
        "keys y n s u answer, and every answer is in the run folder",
        (figures["right"], figures["wrong"], figures["skipped"], figures["answers"]) == (1, 1, 1, 5)
        and seen["precision"].startswith("precision 50.0 %"),
        right=figures["right"], wrong=figures["wrong"], skipped=figures["skipped"], page=seen["precision"],
    )  # fmt: skip
