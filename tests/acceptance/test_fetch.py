"""Ten thousand URLs of a bad web: each ends in its place with its kind, and a retry asks only for what broke.

The web is a server of the test's own on loopback; the only address that the fetcher may reach there is 127.0.0.1.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from negscale import app
from negscale.datasets.images import ImageReader
from negscale.storage.audit import audit
from negscale.storage.run_folder import RunFolder
from tests.acceptance.verdict import verdict
from tests.web_server import RunningWeb, body_of, running_web

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(1200)]

RETRIES = 1
KEPT = {"image": 6100, "untyped": 200, "moved": 500, "busy": 100}
REJECTED = {
    "gone": (800, "gone"), "forbidden": (100, "forbidden"), "circle": (20, "too_many_redirects"),
    "inwards": (200, "private_address"), "page": (300, "not_an_image"), "liar": (200, "not_an_image"),
    "optout": (300, "opt_out"), "large": (50, "too_large"),
}  # fmt: skip
BROKEN = {
    "stall": (100, "timeout"), "cut": (150, "truncated_body"), "sick": (500, "server_error"),
    "later": (80, "rate_limited"), "hangup": (50, "connection_error"),
}  # fmt: skip
ELSEWHERE = {  # URLs that no request is made for
    "private_address": ("http://10.0.0.{n}/a.jpg", "http://169.254.169.254/{n}", "http://[fd00:ec2::254]/{n}",
                        "http://127.0.0.2:{port}/image/{n}", "http://localhost:{port}/image/{n}"),
    "bad_url": ("file:///etc/passwd?{n}", "ftp://example.org/{n}.jpg", "no url {n}", "http://:{n}", "http://127.1:{port}/{n}"),
}  # fmt: skip
EACH_ELSEWHERE = 20
NO_TAB = 50
HEALED = ("stall", "cut", "sick", "later")


def write_list(root: Path, web: RunningWeb) -> int:
    """The TSV, in an order that mixes everything; returns its number of lines."""
    numbers = {name: range(count) for name, count in KEPT.items()}
    numbers |= {name: range(count) for name, (count, _) in (REJECTED | BROKEN).items()}
    lines = []
    for name, places in numbers.items():
        base = 100_000 if name == "moved" else 0  # where it leads is nobody else's image
        lines += [f"{web.root}/{name}/{base + n}\tcaption {n} of {name}" for n in places]
    for shapes in ELSEWHERE.values():
        for shape in shapes:
            lines += [f"{shape.format(n=n, port=web.port)}\tsomewhere else" for n in range(1, EACH_ELSEWHERE + 1)]
    lines += [f"a line without its tab {n}" for n in range(NO_TAB)]
    random.Random(5).shuffle(lines)
    root.mkdir()
    (root / "cc12m.tsv").write_text("\n".join(lines) + "\n")
    return len(lines)


def asked(requests: list[tuple[str, str]]) -> Counter[str]:
    """Requests by the first part of their path."""
    return Counter(path.split("/")[1] for _, path in requests)


def overrides(tmp_path: Path) -> list[str]:
    values: dict[str, Any] = {
        "source.root": tmp_path / "list", "runtime.run_root": tmp_path / "runs", "runtime.executor": "local",
        "fetcher.allow_private_hosts": "[127.0.0.1]", "fetcher.max_bytes": 500_000, "fetcher.limits.per_host": 64,
        "fetcher.limits.retries": RETRIES, "fetcher.limits.read_s": 10, "fetcher.limits.total_s": 60,
        "fetcher.limits.backoff_s": 0.1,
    }  # fmt: skip
    return [f"{key}={value}" for key, value in values.items()]


def test_ten_thousand_urls_each_in_its_place(tmp_path: Path) -> None:
    with running_web(tmp_path / "web") as web:
        lines = write_list(tmp_path / "list", web)
        begin = time.monotonic()
        prepared = app.prepare("fetch", (), overrides(tmp_path))
        manifest = app.generate(prepared)
        seconds = time.monotonic() - begin
        first = web.requests()

        rejected = Counter({f"fetch_image/{reason}": 0 for _, reason in REJECTED.values()})
        for count, reason in REJECTED.values():
            rejected[f"fetch_image/{reason}"] += count
        for reason, shapes in ELSEWHERE.items():
            rejected[f"fetch_image/{reason}"] += EACH_ELSEWHERE * len(shapes)
        faults = {f"fetch_image/{kind}": count for count, kind in BROKEN.values()} | {"read/schema": NO_TAB}
        run = RunFolder(prepared.spec.uri)
        verdict(
            "10,000 URLs: every row in its place with its kind",
            (manifest.rows_kept, dict(manifest.rejected), dict(manifest.quarantined))
            == (sum(KEPT.values()), dict(rejected), faults)
            and lines == manifest.rows_read and audit(run).passed,
            rows=lines, kept=manifest.rows_kept, rejected=manifest.rejected, quarantined=manifest.quarantined,
            seconds=seconds,
        )  # fmt: skip

        once = {name: count for name, (count, _) in REJECTED.items()} | {"untyped": KEPT["untyped"]}
        expected = Counter({
            **once, "circle": 6 * REJECTED["circle"][0], "image": KEPT["image"] + KEPT["moved"], "moved": KEPT["moved"],
            "busy": 2 * KEPT["busy"], "later": BROKEN["later"][0],
            **{name: (1 + RETRIES) * BROKEN[name][0] for name in ("stall", "cut", "sick")},
        })  # fmt: skip
        found = asked(first)
        hangups = found.pop("hangup")  # aiohttp itself asks again when a connection that was kept open is closed
        verdict(
            "the server's log: each URL asked as often as it should be, and no private address reached",
            found == expected and hangups >= 2 * BROKEN["hangup"][0] and {a for a, _ in first} == {"127.0.0.1"},
            requests=len(first), addresses=sorted({a for a, _ in first}), surplus=dict(found - expected),
            missing=dict(expected - found),
        )  # fmt: skip

        reader, base = ImageReader(prepared.spec.uri), body_of(0).removesuffix(b"#0#")
        right = 0
        for _, table in run.tables("data", ["url", "image", "fetched_url"]):
            for row in table.to_pylist():
                data = reader.read_bytes(row["image"])  # verifies the sha256
                number = row["url"].rpartition("/")[2]
                right += data == base + f"#{number}#".encode() and row["fetched_url"].endswith(f"/{number}")
        blobs = len(list(Path(prepared.spec.uri, "images").iterdir()))
        verdict(
            "stored bytes are those that the server sent", right == manifest.rows_kept and blobs <= manifest.shards,
            images=right, tars=blobs, shards=manifest.shards,
        )  # fmt: skip

        same = app.generate(app.prepare("fetch", (), overrides(tmp_path)))
        verdict(
            "the same command again asks the web for nothing",
            len(web.requests()) == len(first) and same.content_digest == manifest.content_digest,
            requests=len(web.requests()) - len(first),
        )  # fmt: skip

        web.heal()
        before = len(web.requests())
        retried, tried = app.retry(prepared.spec.uri, (), ["fetcher.limits.total_s=90"])
        again = web.requests()[before:]
        healed = sum(BROKEN[name][0] for name in HEALED)
        counts = asked(again)
        hangups = counts.pop("hangup")
        verdict(
            "a retry fetches what was retryable and nothing else",
            counts == Counter({name: BROKEN[name][0] for name in HEALED}) and hangups >= BROKEN["hangup"][0]
            and len({path for _, path in again}) == tried == sum(count for count, _ in BROKEN.values())
            and retried.rows_kept == manifest.rows_kept + healed and retried.rejected == manifest.rejected
            and dict(retried.quarantined) == {"fetch_image/connection_error": BROKEN["hangup"][0], "read/schema": NO_TAB}
            and audit(run).passed,
            tried=tried, requests=dict(counts) | {"hangup": hangups}, kept=retried.rows_kept,
            quarantined=retried.quarantined,
        )  # fmt: skip
