"""Addresses that users name: none inside, none that changes its mind, none without an end."""

import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from serving.outbound import OutboundError, fetch, post, resolve
from tests.unit.serving.calls import first_frame, png
from tests.unit.serving.conftest import running

PUBLIC = "93.184.215.14"


@contextmanager
def site(pages):
    """(port, what was asked for) of a server on loopback; a page is (status, headers, body)."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.headers["host"], self.path))
            status, headers, body = pages[self.path]
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server.server_port, asked
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def names(monkeypatch):
    """A resolver of the test's own: {host: [the answer to each question in turn]}."""
    table = {}

    def getaddrinfo(host, port, *_args, **_kwargs):
        if host not in table and not host[0].isdigit():
            raise socket.gaierror("unknown")
        answers = table.get(host, [[host]])  # an address is its own answer
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in addresses]

    monkeypatch.setattr("serving.outbound.socket.getaddrinfo", getaddrinfo)
    return table


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "192.168.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "::1",
     "fe80::1%eth0", "fd00::1", "::ffff:127.0.0.1", "2002:7f00:1::", "224.0.0.1"],
)  # fmt: skip
def test_addresses_inside_are_refused(names, address):
    names["a.example"] = [[PUBLIC, address]]  # one of several is enough
    with pytest.raises(OutboundError, match="not on the public network"):
        resolve("https://a.example/x", ())


@pytest.mark.parametrize("url", ["https://2130706433/", "https://0x7f.1/", "https://localhost/"])
def test_other_spellings_of_loopback_are_refused(url):
    with pytest.raises(OutboundError):
        resolve(url, ())


def test_the_address_that_was_checked_is_the_one_that_is_called(names, monkeypatch):
    names["a.example"] = [[PUBLIC], ["127.0.0.1"]]  # rebinding: inside, at the second question
    called = []

    def connect(address, *_args):
        called.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr("serving.outbound.socket.create_connection", connect)
    target = resolve("https://a.example:8443/x", ())
    with pytest.raises(OutboundError, match="no answer"):
        post(target, b"", {}, 1)
    assert called == [(PUBLIC, 8443)]


def test_each_hop_of_a_redirect_is_checked(names):
    names |= {"a.example": [["127.0.0.1"]], "b.example": [["127.0.0.1"]]}
    pages = {"/x": (302, {}, b""), "/loop": (301, {"location": "/loop"}, b"")}
    with site(pages) as (port, asked):
        pages["/x"] = (302, {"location": f"http://b.example:{port}/secret"}, b"")
        for url, reason in (
            (f"http://a.example:{port}/x", "only https"),
            (f"http://a.example:{port}/loop", "redirects more than"),
        ):
            with pytest.raises(OutboundError, match=reason):
                fetch(url, ("a.example",), 100, 5)
    assert {path for _, path in asked} == {"/x", "/loop"}


def test_a_file_without_an_end_is_cut_off(names):
    names["a.example"] = [["127.0.0.1"]]
    pages = {"/big": (200, {}, b"x" * 3000), "/gone": (404, {}, b""), "/ok": (200, {}, b"fine")}
    with site(pages) as (port, asked):
        url = f"http://a.example:{port}"
        for path, reason in (("/big", "larger than"), ("/gone", "answers 404")):
            with pytest.raises(OutboundError, match=reason):
                fetch(url + path, ("a.example",), 1000, 5)
        assert fetch(f"{url}/ok", ("a.example",), 1000, 5) == b"fine"
    assert asked[-1] == (f"a.example:{port}", "/ok")


def test_pictures_are_fetched_only_where_that_is_on(names, catalog, tmp_path):
    names["a.example"] = [["127.0.0.1"]]
    with site({"/a.png": (200, {}, png())}) as (port, asked):
        body = {"prompt": "a", "input_reference": {"image_url": f"http://a.example:{port}/a.png"}}
        with running(catalog, tmp_path) as world:
            reply = world.client.post("/v1/videos", json=body)
            assert reply.json()["error"]["code"] == "url_not_allowed" and asked == []
        on = {"fetch_urls": True, "private_hosts": ["a.example"]}
        with running(catalog, tmp_path, **on) as world:
            reply = world.client.post("/v1/videos", json=body)
            assert world.finish(reply.json()["id"])["status"] == "completed"
            assert (first_frame(world, 0) == (10, 200, 30)).all()
        with running(catalog, tmp_path, fetch_urls=True) as world:  # but not from inside
            reply = world.client.post("/v1/videos", json=body)
            assert reply.json()["error"]["code"] == "url_not_allowed"
