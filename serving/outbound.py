"""Requests that this server makes because a user named an address.

A name is resolved once; every address that it has must be public, and the connection goes to
the address that was checked, so a name that changes its mind in between (DNS rebinding) gains
nothing. Redirects are never followed by themselves: a fetch checks each hop like the first.
Bytes and time are capped.
"""

import http.client
import ipaddress
import socket
import ssl
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

from infra.errors import InputError

MAX_URL = 2048
MAX_HOPS = 3
REDIRECTS = (301, 302, 303, 307, 308)


class OutboundError(InputError):
    """The address may not be called, or did not answer as it must; the message is a sentence."""


@dataclass(frozen=True)
class Target:
    """A URL whose host was resolved to `address`."""

    url: SplitResult
    address: str
    port: int


def check_url(url: str, private_hosts: Collection[str]) -> SplitResult:
    """The parts of `url`, without looking its name up.

    Raises:
        OutboundError: not https (http is for `private_hosts`), or with a user, or too long.
    """
    try:
        parts = urlsplit(url)
        port_is_wrong = parts.port == 0
    except ValueError as error:
        raise OutboundError(f"{url[:80]!r} is not a URL") from error
    if len(url) > MAX_URL or any(ord(char) <= 32 or ord(char) > 126 for char in url):
        raise OutboundError(f"{url[:80]!r} is not a URL of at most {MAX_URL} plain characters")
    if parts.scheme not in ("https", "http") or not parts.hostname or port_is_wrong:
        raise OutboundError(f"{url[:80]!r} is not an https URL")
    if parts.scheme == "http" and parts.hostname not in private_hosts:
        raise OutboundError(f"{url[:80]!r} is http; only https is called")
    if parts.username is not None or parts.password is not None:
        raise OutboundError("the URL carries a user name or password; leave it out")
    return parts


def resolve(url: str, private_hosts: Collection[str]) -> Target:
    """Look the host up once.

    Raises:
        OutboundError: as `check_url`; or the name does not resolve to public addresses alone.
    """
    parts = check_url(url, private_hosts)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise OutboundError(f"the host {host[:80]!r} cannot be found") from error
    addresses = [str(entry[4][0]) for entry in found]
    if host not in private_hosts and not all(_is_public(address) for address in addresses):
        raise OutboundError(f"the host {host[:80]!r} is not on the public network")
    return Target(parts, addresses[0], port)


def _is_public(address: str) -> bool:
    ip = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(ip, "ipv4_mapped", None) or getattr(ip, "sixtofour", None)
    return ip.is_global and not ip.is_multicast and (mapped is None or mapped.is_global)


def post(target: Target, body: bytes, headers: Mapping[str, str], timeout_s: float) -> int:
    """POST to the target and return the status; of the answer nothing else is read.

    Raises:
        OutboundError: no answer.
    """
    connection = _connect(target, timeout_s)
    try:
        connection.request("POST", _path(target.url), body, dict(headers))
        return connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise OutboundError(f"no answer ({type(error).__name__})") from error
    finally:
        connection.close()


def fetch(url: str, private_hosts: Collection[str], max_bytes: int, timeout_s: float) -> bytes:
    """The bytes at `url`.

    Raises:
        OutboundError: an address that may not be called, at any hop; an error; too much; too long.
    """
    deadline = time.monotonic() + timeout_s
    for _hop in range(MAX_HOPS):
        target = resolve(url, private_hosts)
        connection = _connect(target, max(0.1, deadline - time.monotonic()))
        try:
            connection.request("GET", _path(target.url), headers={"accept": "image/*"})
            answer = connection.getresponse()
            if answer.status in REDIRECTS:
                url = urljoin(url, answer.getheader("location", ""))
                continue
            if answer.status != 200:
                raise OutboundError(f"{url[:80]!r} answers {answer.status}")
            return _read(answer, max_bytes, deadline)
        except (OSError, http.client.HTTPException) as error:
            raise OutboundError(f"{url[:80]!r} gives no answer ({type(error).__name__})") from error
        finally:
            connection.close()
    raise OutboundError(f"{url[:80]!r} redirects more than {MAX_HOPS} times")


def _read(answer: http.client.HTTPResponse, max_bytes: int, deadline: float) -> bytes:
    data = bytearray()
    while chunk := answer.read1(2**16):
        data += chunk
        if len(data) > max_bytes:
            raise OutboundError(f"the file is larger than {max_bytes / 2**20:.0f} MiB")
        if time.monotonic() > deadline:
            raise OutboundError("the file takes too long to come")
    return bytes(data)


def _path(url: SplitResult) -> str:
    return (url.path or "/") + (f"?{url.query}" if url.query else "")


def _connect(target: Target, timeout_s: float) -> http.client.HTTPConnection:
    host, port = target.url.hostname or "", target.port
    if target.url.scheme == "http":
        return _Pinned(host, port, target.address, timeout_s)
    return _PinnedTls(host, port, target.address, timeout_s)


class _Pinned(http.client.HTTPConnection):
    """Speaks to one address under the name of the host."""

    def __init__(self, host: str, port: int, address: str, timeout_s: float) -> None:
        super().__init__(host, port, timeout=timeout_s)
        self._address = address

    def connect(self) -> None:
        self.sock: Any = socket.create_connection((self._address, self.port), self.timeout)


class _PinnedTls(_Pinned):
    def connect(self) -> None:
        super().connect()
        context = ssl.create_default_context()
        self.sock = context.wrap_socket(self.sock, server_hostname=self.host)
