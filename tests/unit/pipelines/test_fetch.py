from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from negscale import app
from negscale.core.errors import ConfigError, PlanError
from negscale.storage.audit import audit
from negscale.storage.run_folder import RunFolder
from tests.web_server import RunningWeb, running_web

QUICK = [
    "runtime.executor=local", "fetcher.allow_private_hosts=[127.0.0.1]", "fetcher.limits.read_s=0.5",
    "fetcher.limits.retries=0", "fetcher.limits.per_host=64",
]  # fmt: skip


@pytest.fixture
def web(tmp_path: Path) -> Iterator[RunningWeb]:
    with running_web(tmp_path / "web") as server:
        yield server


def write_list(root: Path, urls: list[str]) -> None:
    root.mkdir()
    (root / "cc12m.tsv").write_text("".join(f"{url}\ta photo of thing number {n} .\n" for n, url in enumerate(urls)))


def prepared(tmp_path: Path, *more: str) -> app.Prepared:
    places = [f"source.root={tmp_path / 'list'}", f"runtime.run_root={tmp_path / 'runs'}"]
    return app.prepare("fetch", (), [*places, *QUICK, *more])


def test_a_fetched_run_is_a_source_for_another_recipe(web: RunningWeb, tmp_path: Path) -> None:
    paths = [*(f"image/{n}" for n in range(30)), "gone/1", "stall/2", "page/3"]
    write_list(tmp_path / "list", [f"{web.root}/{path}" for path in paths])
    run = prepared(tmp_path, "source.shard_rows=10")
    manifest = app.generate(run)
    assert (manifest.rows_kept, manifest.rows_rejected, manifest.rows_quarantined) == (30, 2, 1)
    assert manifest.rejected == {"fetch_image/gone": 1, "fetch_image/not_an_image": 1}
    assert manifest.quarantined == {"fetch_image/timeout": 1}
    assert audit(RunFolder(run.spec.uri)).passed

    (tmp_path / "runs").rename(tmp_path / "elsewhere")  # rows and images move together
    uri = run.spec.uri.replace("/runs/", "/elsewhere/")
    again = app.prepare("negationclip_p1", (), [
        "source.kind=run", f"source.uri={uri}", "runtime.executor=local", f"runtime.run_root={tmp_path / 'p1'}",
    ])  # fmt: skip
    assert again.listing.rows == 30
    result = app.generate(again)
    assert result.rows_read == 30
    # every image was read: pixels that are no drawn scene are what the tiny judge sees, not a storage fault
    assert not [
        kind for kind in result.quarantined if kind.endswith(("missing_image", "storage_error", "changed_image"))
    ]


def test_a_retry_asks_for_what_broke_and_nothing_else(web: RunningWeb, tmp_path: Path) -> None:
    paths = [*(f"image/{n}" for n in range(20)), *(f"sick/{n}" for n in range(20)), "gone/1", "cut/1"]
    write_list(tmp_path / "list", [f"{web.root}/{path}" for path in paths])
    run = prepared(tmp_path)
    app.generate(run)
    before = len(web.requests())
    # a retry in which every row breaks alike again (20 rows, one dead host) is no ill model: the run goes on
    manifest, tried = app.retry(run.spec.uri)
    assert (tried, manifest.rows_kept, manifest.rows_quarantined) == (21, 20, 21)
    web.heal()
    middle = len(web.requests())
    manifest, tried = app.retry(run.spec.uri, (), ["fetcher.limits.total_s=60"])
    assert (tried, manifest.rows_kept, manifest.rows_rejected, manifest.rows_quarantined) == (21, 41, 1, 0)
    wanted = Counter([*(f"/sick/{n}" for n in range(20)), "/cut/1"])
    requests = [path for _, path in web.requests()]
    assert Counter(requests[before : middle - 1]) == wanted
    assert Counter(requests[middle:]) == wanted
    assert audit(RunFolder(run.spec.uri)).passed


def test_a_root_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"source.*root.* is required"):
        app.prepare("fetch", (), [])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("[caption]", "reads 'url'; upstream has"),
        ("[]", "already written upstream"),
        ("[link]", "has no column 'link'"),
    ],
)
def test_a_source_that_does_not_fit_is_refused_before_anything_starts(
    web: RunningWeb, tmp_path: Path, columns: str, message: str
) -> None:
    write_list(tmp_path / "list", [f"{web.root}/image/1"])
    run = prepared(tmp_path)
    app.generate(run)
    source = ["source.kind=run", f"source.uri={run.spec.uri}", f"source.columns={columns}"]
    with pytest.raises(PlanError, match=message):
        app.prepare("fetch", (), [*source, f"runtime.run_root={tmp_path / 'b'}"])
