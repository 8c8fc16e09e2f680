from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from negscale.backends.fetch import WebFetcherConfig
from negscale.backends.fetch_address import CheckedResolver, PrivateAddressError, check_literal, is_public
from negscale.backends.fetch_http import HttpFetcher
from negscale.backends.fetch_rules import FetchLimits
from negscale.core.stage import Fault, Reject
from negscale.storage.blobs import Spool
from tests.web_server import RunningWeb, running_web


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWeb]:
    with running_web(tmp_path_factory.mktemp("web")) as server:
        yield server


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "2002:808:808::1", "64:ff9b::808:808"]
)
def test_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.255.0.9", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.100.100.200",
        "168.63.129.16", "0.0.0.0", "255.255.255.255", "224.0.0.1", "192.0.2.1", "240.0.0.1", "::1", "::", "fe80::1",
        "fe80::1%eth0", "fd00:ec2::254", "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::1", "2001:db8::1",
    ],
)  # fmt: skip
def test_not_public(address: str) -> None:
    assert not is_public(address)
    with pytest.raises(PrivateAddressError):
        check_literal(address, ())
    check_literal(address, (address,))


class Answers:
    """A name server that gives one answer after the other, then the last for ever."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers, self.asked = list(answers), 0

    def __call__(self, host: str, port: int, family: int) -> list[str]:
        answer = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        return answer


def resolve(answers: Answers, host: str = "a.example", allowed: tuple[str, ...] = ()) -> list[str]:
    async def run() -> list[str]:
        resolver = CheckedResolver(allowed, answers)
        try:
            return [found["host"] for found in await resolver.resolve(host, 80, socket.AF_UNSPEC)]
        finally:
            await resolver.close()

    return asyncio.run(run())


def test_private_answers_are_left_out_and_none_left_is_an_error() -> None:
    assert resolve(Answers(["10.0.0.1", "8.8.8.8"])) == ["8.8.8.8"]
    with pytest.raises(PrivateAddressError, match=r"resolves to 10\.0\.0\.1"):
        resolve(Answers(["10.0.0.1", "::1"]))
    assert resolve(Answers(["10.0.0.1"]), "mirror.lan", ("mirror.lan",)) == ["10.0.0.1"]
    with pytest.raises(OSError, match="no address"):
        resolve(Answers([]))


def fetch(url: str, answers: Answers, allowed: tuple[str, ...] = ()) -> Any:
    async def run() -> Any:
        limits = FetchLimits(retries=0, connect_s=0.5, read_s=1, total_s=1.5)
        http = HttpFetcher(WebFetcherConfig(allow_private_hosts=allowed, limits=limits), answers)
        spool = Spool()
        try:
            return (await http.fetch_all([url], spool, 10))[0]
        finally:
            spool.close()
            await http.close()

    return asyncio.run(run())


def test_a_name_that_points_inwards_is_refused(web: RunningWeb) -> None:
    before = len(web.requests())
    assert fetch(f"http://evil.example:{web.port}/image/1", Answers(["127.0.0.1"])) == Reject("private_address")
    assert len(web.requests()) == before


def test_the_address_that_was_checked_is_the_one_that_is_connected_to(web: RunningWeb) -> None:
    before = len(web.requests())
    answers = Answers(["127.0.0.1"], ["127.0.0.2"])  # a second look-up would lead to the neighbour
    body = fetch(f"http://mirror.lan:{web.port}/moved/1", answers, ("mirror.lan",))
    assert (body.extension, body.url) == ("jpg", f"http://mirror.lan:{web.port}/image/1")
    assert answers.asked == 1
    assert web.requests()[before:] == [("127.0.0.1", "/moved/1"), ("127.0.0.1", "/image/1")]


def test_a_name_server_that_does_not_answer_is_worth_a_retry(web: RunningWeb) -> None:
    class Dead(Answers):
        def __call__(self, host: str, port: int, family: int) -> list[str]:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    found = fetch("http://somewhere.example/", Dead())
    assert isinstance(found, Fault)
    assert (found.kind, found.retryable) == ("dns_error", True)
