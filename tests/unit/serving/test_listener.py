"""The gateway's HTTP server: it answers on its address, waits for it, and gives it back."""

import socket
import threading
import urllib.request

import pytest
from fastapi import FastAPI

from infra.errors import InfrastructureError
from serving.listener import Listener

HOST = "127.0.0.1"


def app() -> FastAPI:
    made = FastAPI()
    made.add_api_route("/word", lambda: "here")
    return made


def answer(port: int) -> bytes:
    with urllib.request.urlopen(f"http://{HOST}:{port}/word", timeout=10) as reply:
        return reply.read()


def test_it_answers_until_it_is_stopped():
    listener = Listener(app(), HOST, 0)
    assert not listener.is_serving
    listener.start()
    port = listener.port
    assert listener.is_serving and answer(port) == b'"here"'
    listener.stop()
    assert not listener.is_serving
    with pytest.raises(OSError):
        answer(port)
    Listener(app(), HOST, port, free_within_s=0).stop()  # the address is free again


def test_it_waits_for_the_one_before_it():
    with socket.create_server((HOST, 0)) as holder:
        port = holder.getsockname()[1]
        freed = threading.Timer(0.15, holder.close)
        freed.start()
        listener = Listener(app(), HOST, port)
        freed.join()
    listener.start()
    assert answer(port) == b'"here"'
    listener.stop()


def test_an_address_that_another_program_keeps_is_named():
    with socket.create_server((HOST, 0)) as holder:
        port = holder.getsockname()[1]
        with pytest.raises(InfrastructureError, match=f"{HOST}:{port}.*REEL_SERVE_PORT"):
            Listener(app(), HOST, port, free_within_s=0)


def test_an_app_that_does_not_start_is_an_error():
    async def broken(scope, _receive, send):
        assert scope["type"] == "lifespan"
        await send({"type": "lifespan.startup.failed", "message": "no"})

    with pytest.raises(InfrastructureError, match="did not start"):
        Listener(broken, HOST, 0).start()
