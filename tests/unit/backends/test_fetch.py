from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from negscale.backends.fetch import WebFetcher, WebFetcherConfig
from negscale.backends.fetch_rules import FetchLimits
from negscale.core.errors import ConfigError
from negscale.core.fetch import Fetched
from negscale.core.stage import Fault, Reject
from negscale.datasets.images import ImageReader
from tests.web_server import HEIGHT_PX, WIDTH_PX, RunningWeb, body_of, running_web

QUICK = FetchLimits(read_s=0.5, total_s=2.0, retries=1, backoff_s=0.05, max_wait_s=3.0, per_host=64)


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWeb]:
    with running_web(tmp_path_factory.mktemp("web")) as server:
        yield server


@pytest.fixture
def fetcher(tmp_path: Path) -> Iterator[WebFetcher]:
    config = WebFetcherConfig(allow_private_hosts=("127.0.0.1",), max_bytes=200_000, limits=QUICK)
    fetcher = config.build(str(tmp_path / "run"))
    fetcher.load()
    yield fetcher
    fetcher.close()


def said(answer: Fetched | Reject | Fault) -> str:
    match answer:
        case Reject(reason):
            return reason
        case Fault(kind, _, retryable):
            return f"{kind}{' again' if retryable else ''}"
    return "image"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/image/1", "image"), ("/untyped/1", "image"), ("/moved/0", "image"), ("/moved/3", "image"),
        ("/busy/1", "image"), ("/gone/0", "gone"), ("/gone/1", "gone"), ("/forbidden/1", "forbidden"),
        ("/circle/1", "too_many_redirects"), ("/page/1", "not_an_image"), ("/liar/1", "not_an_image"),
        ("/optout/1", "opt_out"), ("/large/1", "too_large"), ("/large/2", "too_large"),
        ("/stall/1", "timeout again"), ("/stall/2", "timeout again"), ("/cut/1", "truncated_body again"),
        ("/hangup/1", "connection_error again"), ("/later/1", "rate_limited again"), ("/sick/1", "server_error again"),
    ],
)  # fmt: skip
def test_what_the_web_says_and_what_breaks(fetcher: WebFetcher, web: RunningWeb, path: str, expected: str) -> None:
    (answer,) = fetcher.fetch([web.root + path], 30)
    assert said(answer) == expected, answer


def test_retries_are_counted_and_useless_ones_are_not_made(fetcher: WebFetcher, web: RunningWeb) -> None:
    before = len(web.requests())
    fetcher.fetch([f"{web.root}/{kind}/901" for kind in ("sick", "gone", "later", "busy")], 30)
    asked = [path for _, path in web.requests()[before:]]
    assert {path: asked.count(path) for path in asked} == {
        "/sick/901": 2,
        "/gone/901": 1,
        "/later/901": 1,
        "/busy/901": 2,
    }


@pytest.mark.parametrize("number", range(4))
def test_redirects_into_private_networks_are_not_followed(fetcher: WebFetcher, web: RunningWeb, number: int) -> None:
    (answer,) = fetcher.fetch([f"{web.root}/inwards/{number}"], 30)
    assert answer == Reject("private_address")
    assert {address for address, _ in web.requests()} == {"127.0.0.1"}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.2:{port}/image/1", "private_address"), ("http://localhost:{port}/image/1", "private_address"),
        ("http://10.0.0.1/", "private_address"), ("http://[::1]:{port}/image/1", "private_address"),
        ("http://169.254.169.254/latest/meta-data/", "private_address"), ("http://0.0.0.0:{port}/image/1", "private_address"),
        ("http://2130706434:{port}/image/1", "bad_url"), ("http://127.2:{port}/image/1", "bad_url"),
        ("file:///etc/passwd", "bad_url"), ("ftp://example.org/a.jpg", "bad_url"), ("", "bad_url"), ("http://", "bad_url"),
        ("http://127.0.0.1:99999/", "bad_url"), ("not a url", "bad_url"), ("http://" + "a" * 70 + ".org/", "bad_url"),
        ("http://no-such-host.invalid/", "unknown_host"), ("http://127.0.0.1:9/", "connection_error again"),
    ],
)  # fmt: skip
def test_addresses_and_urls_that_are_refused(fetcher: WebFetcher, web: RunningWeb, url: str, expected: str) -> None:
    (answer,) = fetcher.fetch([url.format(port=web.port)], 30)
    assert said(answer) == expected, answer
    assert {address for address, _ in web.requests()} <= {"127.0.0.1"}


def test_the_bytes_in_storage_are_those_of_the_web(fetcher: WebFetcher, web: RunningWeb, tmp_path: Path) -> None:
    urls = [f"{web.root}/{path}" for path in ("image/5", "gone/0", "moved/6", "image/5", "image/7?bytes=150000")]
    answers = fetcher.fetch(urls, 30)
    reader = ImageReader(str(tmp_path / "run"))
    wanted = {0: body_of(5), 2: body_of(6), 3: body_of(5), 4: body_of(7, 150_000)}
    for i, data in wanted.items():
        found = answers[i]
        assert isinstance(found, Fetched)
        assert reader.read_bytes(found.image) == data
        assert found.image["sha256"] == sha256(data).digest()
        assert (found.image["height_px"], found.image["width_px"]) == (HEIGHT_PX, WIDTH_PX)
        assert reader.read(found.image).shape == (HEIGHT_PX, WIDTH_PX, 3)
    assert isinstance(answers[2], Fetched)
    assert answers[2].url == f"{web.root}/image/6"
    (blob,) = (tmp_path / "run" / "images").iterdir()
    with tarfile.open(blob) as tar:
        names = tar.getnames()
    assert blob.stem == sha256("".join(f"{name}\n" for name in names).encode()).hexdigest()
    assert names == [f"{sha256(wanted[i]).hexdigest()}.jpg" for i in (0, 2, 4)]


def test_a_batch_that_runs_twice_leaves_one_object(fetcher: WebFetcher, web: RunningWeb, tmp_path: Path) -> None:
    urls = [f"{web.root}/image/{n}" for n in range(40)]
    first, second = fetcher.fetch(urls, 30), fetcher.fetch(urls, 30)
    assert first == second
    assert len(list((tmp_path / "run" / "images").iterdir())) == 1


def test_time_is_up_for_what_still_stalls_and_for_nothing_else(fetcher: WebFetcher, web: RunningWeb) -> None:
    answers = fetcher.fetch([f"{web.root}/image/1", f"{web.root}/stall/4"], 0.4)
    assert said(answers[0]) == "image"
    assert said(answers[1]) == "not_reached again"


@pytest.mark.parametrize(("concurrency", "per_host"), [(64, 3), (3, 64)])
def test_no_more_requests_at_once_than_allowed(
    web: RunningWeb, tmp_path: Path, concurrency: int, per_host: int
) -> None:
    patient = FetchLimits(read_s=60, total_s=60, concurrency=concurrency, per_host=per_host)
    fetcher = WebFetcherConfig(allow_private_hosts=("127.0.0.1",), limits=patient).build(str(tmp_path))
    fetcher.load()
    before = len(web.requests())
    try:
        answers = fetcher.fetch([f"{web.root}/stall/{2 * n}" for n in range(100, 110)], 1.0)
    finally:
        fetcher.close()
    assert len(web.requests()) - before == 3  # none of the three ends
    assert {said(a) for a in answers} == {"not_reached again"}


def test_a_fetcher_needs_a_store() -> None:
    with pytest.raises(ConfigError, match="no folder to store images"):
        WebFetcherConfig().build().load()


def test_patience_bears_no_identity_and_limits_of_content_do() -> None:
    usual = WebFetcherConfig()
    patient = WebFetcherConfig(limits=FetchLimits(total_s=300))
    assert usual.identity() == patient.identity()
    assert usual.identity() != WebFetcherConfig(max_bytes=5).identity()


def test_a_full_disk_stops_the_worker_and_blames_no_row(fetcher: WebFetcher, web: RunningWeb, tmp_path: Path) -> None:
    from negscale.core.errors import FatalError

    (tmp_path / "run").mkdir(exist_ok=True)
    (tmp_path / "run" / "images").write_text("a file where the folder should be")
    with pytest.raises(FatalError, match="cannot store images"):
        fetcher.fetch([f"{web.root}/image/1"], 30)


def test_blobs_go_to_object_stores_too(web: RunningWeb, s3_uri: str) -> None:
    fetcher = WebFetcherConfig(allow_private_hosts=("127.0.0.1",), limits=QUICK).build(s3_uri)
    fetcher.load()
    try:
        answers = [fetcher.fetch([f"{web.root}/image/{n}" for n in (1, 2)], 30) for _ in range(2)]
    finally:
        fetcher.close()
    assert answers[0] == answers[1]
    assert isinstance(answers[0][1], Fetched)
    assert io.BytesIO(ImageReader(s3_uri).read_bytes(answers[0][1].image)).read() == body_of(2)
