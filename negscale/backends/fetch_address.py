"""Which addresses a fetcher may connect to. A URL list comes from strangers, and workers sit inside private networks.

The check is made where the connection is: the resolver that aiohttp connects by gives checked addresses only, so that
no second look-up can answer otherwise (DNS rebinding). Literal addresses never reach a resolver; `check_literal` is
called for each URL and each redirect. img2dataset connects to whatever a URL or a redirect says.
"""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import socket
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

from negscale.core.errors import NegscaleError

Lookup = Callable[[str, int, int], list[str]]
_PUBLIC_METADATA = ipaddress.ip_address("168.63.129.16")  # Azure's host agent: not in any private range
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # the IPv4 address lies in the last 32 bits
_THREADS = 32  # getaddrinfo blocks, and dead name servers are slow


class PrivateAddressError(NegscaleError):
    """The host has no address that may be connected to."""


def is_public(address: str) -> bool:
    """Whether `address` (IPv4 or IPv6 text) is on the open internet: not private, loopback, link-local, metadata, ...

    IPv6 addresses that embed an IPv4 one (mapped, 6to4, Teredo, NAT64) are as public as that is.

    >>> [is_public(a) for a in ("8.8.8.8", "169.254.169.254", "::ffff:10.0.0.1", "100.64.0.1")]
    [True, False, False, False]
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())]
        if ip in _NAT64:
            inner.append(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF))
        embedded = [other for other in inner if other is not None]
        if embedded:
            return all(is_public(str(other)) for other in embedded)
    return ip.is_global and not ip.is_multicast and ip != _PUBLIC_METADATA


def check_literal(host: str, allowed: Collection[str]) -> None:
    """Raises PrivateAddressError when `host` is an address (not a name) that is neither public nor in `allowed`."""
    if _is_private_literal(host) and host not in allowed:
        raise PrivateAddressError(f"{host} is not on the open internet")


@functools.lru_cache(maxsize=4096)
def _is_private_literal(host: str) -> bool:
    try:
        return not is_public(host)
    except ValueError:
        return False  # a name: its addresses are checked when it is resolved


def system_lookup(host: str, port: int, family: int) -> list[str]:
    """Addresses of `host` by the system's resolver; raises socket.gaierror."""
    found = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
    return list(dict.fromkeys(str(item[4][0]) for item in found))


class CheckedResolver(AbstractResolver):
    """Resolves to public addresses only; names in `allowed` may resolve to any."""

    def __init__(self, allowed: Collection[str], lookup: Lookup = system_lookup) -> None:
        self._allowed, self._lookup = allowed, lookup
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="negscale-dns")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Checked addresses. Raises PrivateAddressError when none is left, OSError when the name does not resolve."""
        loop = asyncio.get_running_loop()
        addresses = await loop.run_in_executor(self._pool, self._lookup, host, port, family)
        if host not in self._allowed:
            public = [address for address in addresses if is_public(address)]
            if addresses and not public:
                raise PrivateAddressError(f"{host} resolves to {addresses[0]}, which is not on the open internet")
            addresses = public
        if not addresses:
            raise OSError(None, "the name has no address")
        return [self._result(host, address, port) for address in addresses]

    @staticmethod
    def _result(host: str, address: str, port: int) -> Any:
        return {
            "hostname": host, "host": address, "port": port, "proto": 0, "flags": socket.AI_NUMERICHOST,
            "family": socket.AF_INET6 if ":" in address else socket.AF_INET,
        }  # fmt: skip

    async def close(self) -> None:
        """Let look-ups that still run go."""
        self._pool.shutdown(wait=False, cancel_futures=True)
