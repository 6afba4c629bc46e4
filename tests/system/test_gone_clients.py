"""Clients that leave in the middle of a request, on real sockets."""

import json
import socket
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contracts.server import Server, serving

BOUNDARY = "xxx"
HEAD = (
    "POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n"
    f"content-type: multipart/form-data; boundary={BOUNDARY}\r\n"
    "content-length: {length}\r\n\r\n"
)
PARTS = (
    f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="prompt"\r\n\r\na\r\n'
    f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="FILE"; filename="a"\r\n\r\n'
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("gone"), 0.01) as server:
        yield server


def videos(server: Server) -> list[object]:
    with urllib.request.urlopen(f"{server.url}/v1/videos", timeout=30) as reply:
        found: list[object] = json.load(reply)["data"]
        return found


@pytest.mark.parametrize(
    ("path", "file"), [("", "input_reference"), ("/extensions", "video"), ("/characters", "video")]
)
def test_a_client_that_goes_in_mid_upload_leaves_nothing(
    server: Server, path: str, file: str
) -> None:
    head = HEAD.format(path=f"/v1/videos{path}", port=server.port, length=8 * 2**20)
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall((head + PARTS.replace("FILE", file)).encode() + b"\0" * 3 * 2**20)
    assert videos(server) == []
    assert left(server.home / "media") == []


def test_a_body_that_is_declared_too_large_is_refused_unread(server: Server) -> None:
    head = HEAD.format(path="/v1/videos", port=server.port, length=2**40)
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head.encode())
        assert b" 413 " in connection.recv(2**16).split(b"\r\n")[0]
    assert videos(server) == [] and left(server.home / "media") == []


def test_a_client_that_leaves_a_stream_does_not_hold_the_server(server: Server) -> None:
    body = json.dumps({"prompt": "a", "seconds": 1, "steps": 500}).encode()
    request = urllib.request.Request(
        f"{server.url}/v1/videos", body, {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as reply:
        video = json.load(reply)["id"]
    for _ in range(8):
        events = urllib.request.urlopen(f"{server.url}/v1/videos/{video}/events", timeout=30)
        assert b"video.queued" in events.readline() + events.readline()
        events.close()
    delete = urllib.request.Request(f"{server.url}/v1/videos/{video}", method="DELETE")
    with urllib.request.urlopen(delete, timeout=30):
        assert videos(server) == []


def left(media: Path) -> list[str]:
    """Files under the media folder, once the server had a moment to clear up."""
    deadline = time.monotonic() + 10
    while True:
        found = sorted(str(path.relative_to(media)) for path in media.rglob("*") if path.is_file())
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.05)
