"""Promises of `report` on an evaluation of the released files, in a real browser: all figures, readable, on its own.

`negscale eval all` puts the tiny encoder, and it with two training-free scorers around it, to every benchmark that the real
data hold; the page of that folder is opened at desktop and phone width, in both colour schemes.
"""

from __future__ import annotations

import asyncio
import base64
import csv
import io
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from negscale.benchmarks.cells import read_suite
from negscale.report import eval_figures as figures
from negscale.tiny_models.files import folder_of
from tests.acceptance.storm import REPO, cli
from tests.acceptance.test_report import DESKTOP, PHONE, WIDE, WatchedTab, drive
from tests.acceptance.verdict import verdict

pytestmark = [pytest.mark.acceptance, pytest.mark.real_data, pytest.mark.timeout(3600)]

SIZES = {"desktop": DESKTOP, "phone": PHONE}
SCHEMES = ("light", "dark")
SMALLEST_PX, CONTRAST = 11.0, 4.5  # of text; the second is WCAG's AA for body text
# cells whose text does not fit, and regions that must be scrolled sideways to be read
CLIPPED = (
    "[...document.querySelectorAll('td, th, dd, .value, .verdict, figcaption')].filter(e => e.offsetWidth > 2"
    " && getComputedStyle(e).display !== 'inline' && e.scrollWidth > e.clientWidth + 1"
    # on a phone the heads of tables are there for screen readers only: each cell says its column
    " && getComputedStyle(e.closest('thead') ?? e).position !== 'absolute').map(e => e.textContent.slice(0, 60))"
)
SCROLLED = (
    "[...document.querySelectorAll('.wide')].filter(e => e.scrollWidth > e.clientWidth + 1)"
    ".map(e => e.getAttribute('aria-label'))"
)
TOO_SMALL = (
    "[...document.querySelectorAll('td, th, p, dd, li, small, figcaption')].filter(e => e.offsetWidth > 2"
    f" && parseFloat(getComputedStyle(e).fontSize) < {SMALLEST_PX}).length"
)
SVG_TEXT_PX = (
    "Math.min(...[...document.querySelectorAll('svg text')].map(t => t.getBoundingClientRect().height)"
    ".filter(h => h > 0))"
)
# the lowest contrast of a text against what is behind it
LOWEST_CONTRAST = """(() => {
  const rgb = c => c.match(/[\\d.]+/g).map(Number);
  const part = v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = c => 0.2126 * part(c[0]) + 0.7152 * part(c[1]) + 0.0722 * part(c[2]);
  const behind = e => { for (let x = e; x; x = x.parentElement) {
    const c = rgb(getComputedStyle(x).backgroundColor); if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
  let worst = [99, ''];
  for (const e of document.querySelectorAll('td, th, p, dd, dt, li, small, a, h1, h2, h3, h4, summary, span')) {
    if (e.offsetWidth < 3 || !e.textContent.trim()) continue;
    const a = light(rgb(getComputedStyle(e).color)), b = light(behind(e));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < worst[0]) worst = [ratio, e.textContent.trim().slice(0, 40)];
  }
  return worst; })()"""


def evaluate(data: Path, out: Path) -> dict[str, Any]:
    """What a user types, and what it prints."""
    encoder = {
        "kind": "hf_dual_encoder",
        "model": "negscale/tiny-clip",
        "path": str(folder_of("encoder")),
        "run": {"offline": True},
    }
    models: dict[str, Any] = {"tiny-clip": encoder}
    for kind, numbers in (("repulsion", {"cosine": 0.8}), ("projection", {"strength": 1.0})):
        models[f"tiny-clip-{kind}"] = {
            "kind": "negation_aware_encoder",
            "encoder": encoder,
            "scoring": {"kind": kind, **numbers},
        }
    config = out.parent / "models.yaml"
    config.write_text(json.dumps({"models": models}))  # JSON is YAML
    done = subprocess.run(
        cli(
            "eval", "all", "-c", str(config), f"data_root={data / 'bench'}", f"image_root={data / 'coco'}", f"out={out}",
            "runtime.executor=local", f"runtime.run_root={out.parent / 'runs'}", "--json",
        ),
        cwd=REPO, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def page_of(out: Path, page: Path) -> dict[str, Any]:
    """`negscale report` on the evaluation; its --json."""
    done = subprocess.run(
        cli("report", str(out), "--html", str(page), "--json"), cwd=REPO, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


async def _key(tab: WatchedTab, key: str, code: int, text: str = "") -> None:
    more = {"text": text} if text else {}
    for kind in ("keyDown" if text else "rawKeyDown", "keyUp"):
        await tab.send("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **more)


async def _open(tab: WatchedTab, page: Path, size: dict[str, Any], scheme: str) -> None:
    await tab.send("Emulation.setDeviceMetricsOverride", **size)
    await tab.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    await tab.send("Page.navigate", url=page.as_uri())
    await tab.wait_for("document.readyState === 'complete' && document.querySelector('table.overview') !== null")


async def _pictures(tab: WatchedTab, name: str) -> None:
    """Screens of the page from the top to the bottom, where a person asked for them."""
    folder = os.environ.get("NEGSCALE_REPORT_PNG")
    if not folder:
        return
    tall, step = await tab.value("document.documentElement.scrollHeight"), await tab.value("innerHeight")
    for number in range(min(-(-tall // step), 40)):
        await tab.value(f"window.scrollTo(0, {number * step})")
        await asyncio.sleep(0.15)  # pictures load when they come near
        shot = await tab.send("Page.captureScreenshot", format="png")
        Path(folder, f"{name}-{number:02d}.png").write_bytes(base64.b64decode(shot["data"]))


def test_an_evaluation_of_the_released_files_is_one_readable_page(tmp_path: Path, shared_data: Path) -> None:
    pytest.importorskip("transformers")
    evaluate(shared_data, tmp_path / "eval")
    page = tmp_path / "page" / "index.html"
    page.parent.mkdir()
    facts = page_of(tmp_path / "eval", page)
    suite = read_suite(str(tmp_path / "eval"))

    async def work(tab: WatchedTab) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        for name, size in SIZES.items():
            for scheme in SCHEMES:
                await _open(tab, page, size, scheme)
                await tab.value("document.querySelectorAll('details').forEach(d => d.open = true)")
                seen[f"{name} {scheme}"] = {
                    "wide": await tab.value(WIDE), "clipped": await tab.value(CLIPPED), "scrolled": await tab.value(SCROLLED),
                    "small": await tab.value(TOO_SMALL), "svg_px": await tab.value(SVG_TEXT_PX),
                    "contrast": await tab.value(LOWEST_CONTRAST),
                }  # fmt: skip
                await _pictures(tab, f"eval-{name}-{scheme}")
        await _open(tab, page, DESKTOP, "light")
        seen["text"] = await tab.value("document.body.innerText")
        seen["sections"] = await tab.value("document.querySelectorAll('section.benchmark').length")
        seen["rows"] = await tab.value("document.querySelectorAll('table.overview tbody tr').length")
        await tab.value("document.querySelectorAll('img').forEach(i => i.loading = 'eager')")
        await tab.wait_for("[...document.querySelectorAll('details[open] img')].every(i => i.complete)")
        seen["broken"] = await tab.value(
            "[...document.querySelectorAll('details[open] img')].filter(i => i.naturalWidth === 0).length"
        )
        await _key(tab, "Tab", 9)
        seen["first"] = await tab.value("document.activeElement.className")
        await _key(tab, "Enter", 13, "\r")
        seen["hash"] = await tab.value("location.hash")
        await tab.value("document.querySelector('details:not([open]) > summary').focus()")
        seen["closed"] = await tab.value("document.activeElement.parentElement.open")
        await _key(tab, "Enter", 13, "\r")
        seen["opened"] = await tab.value("document.activeElement.parentElement.open")
        seen["outlined"] = await tab.value("getComputedStyle(document.activeElement).outlineStyle")
        return seen

    seen, tab = drive(tmp_path / "browser", work)
    values = {
        figures.shown(cell.headline.estimate.value, cell.headline.unit) for cell in suite.cells.values()
    } | {figures.interval(cell.headline.estimate, cell.headline.unit) for cell in suite.cells.values()}  # fmt: skip
    lost = sorted(value for value in values if value not in seen["text"])
    verdict(
        "a page holds at least two models and six benchmarks of the released files, each with interval, control and items",
        len(suite.models) >= 2 and len(suite.benchmarks) >= 6 and not lost and not seen["broken"]
        and seen["sections"] == len(suite.benchmarks) and seen["rows"] == len(suite.cells) and facts["pictures"] >= 40
        and not facts["images_unread"],
        models=len(suite.models), benchmarks=len(suite.benchmarks), figures=len(values), lost=lost[:3], broken=seen["broken"],
        pictures=facts["pictures"], side_px=facts["picture_side_px"], page_mb=facts["page_bytes"] / 1e6,
    )  # fmt: skip
    for name in (f"{size} {scheme}" for size in SIZES for scheme in SCHEMES):
        one = seen[name]
        verdict(
            f"the page is readable at {name}",
            not one["wide"] and not one["clipped"] and not one["scrolled"] and not one["small"]
            and one["svg_px"] >= SMALLEST_PX and one["contrast"][0] >= CONTRAST,
            wide=one["wide"], clipped=one["clipped"][:3], scrolled=one["scrolled"][:3], small=one["small"],
            svg_px=one["svg_px"], contrast=one["contrast"],
        )  # fmt: skip
    verdict(
        "keys reach the figures and open what is folded",
        seen["first"] == "skip" and seen["hash"] == "#overview" and not seen["closed"] and seen["opened"]
        and seen["outlined"] != "none",
        first=seen["first"], hash=seen["hash"], opened=seen["opened"], outlined=seen["outlined"],
    )  # fmt: skip
    verdict(
        "nothing is complained of and nothing is fetched",
        not tab.complaints and all(url.startswith(("file:", "data:")) for url in tab.requests),
        complaints=tab.complaints[:3], requests=len({url for url in tab.requests if not url.startswith("data:")}),
    )  # fmt: skip
    text = subprocess.run(
        cli("report", str(tmp_path / "eval"), "--to", "csv"), cwd=REPO, capture_output=True, text=True, check=True
    )
    rows = list(csv.DictReader(io.StringIO(text.stdout)))
    kinds = {row["kind"] for row in rows}
    same = all(
        float(row["value"]) == figures.line(suite.cells[row["benchmark"], row["model"]], row["name"]).estimate.value  # type: ignore[union-attr]
        for row in rows
        if row["kind"] == "score" and row["value"]
    )
    verdict(
        "the same figures as CSV, to the last digit",
        same and kinds == {"score", "control", "gain", "difference", "published"}, rows=len(rows), kinds=len(kinds),
    )  # fmt: skip
