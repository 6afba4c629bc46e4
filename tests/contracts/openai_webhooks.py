"""Webhooks as an unmodified openai client has them; run by `openai_cases`."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue
from typing import Any

import openai

from tests.contracts.openai_calls import Client, fails, made


class Webhooks:
    """The endpoints' calls; the client's own where it has them."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def post(self, path: str, **body: Any) -> Any:
        return self._client.post(f"/webhook_endpoints{path}", body=body, cast_to=object)


@contextmanager
def receiver(answers: list[int]) -> Iterator[tuple[str, "Queue[tuple[bytes, dict[str, str]]]"]]:
    """A server that takes webhooks: (its URL, what it got). `answers` come first, then 200."""
    got: Queue[tuple[bytes, dict[str, str]]] = Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            got.put((body, {name.lower(): value for name, value in self.headers.items()}))
            self.send_response(answers.pop(0) if answers else 200)
            self.end_headers()

        def log_message(self, *_args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook", got
    finally:
        server.shutdown()
        server.server_close()


def webhooks_are_signed_and_repeated(client: Client) -> None:
    hooks = Webhooks(client)
    with receiver([500]) as (url, got):
        types = ["video.completed", "video.failed"]
        hook = hooks.post("", name="h", url=url, event_types=types)
        video = made(client)
        first, again = got.get(timeout=30), got.get(timeout=30)
        assert first[0] == again[0] and first[1]["webhook-id"] == again[1]["webhook-id"]
        event = client.webhooks.unwrap(again[0], again[1], secret=hook["signing_secret"])
        assert (event.type, event.data.id) == ("video.completed", video.id)
        fails(
            openai.InvalidWebhookSignatureError,
            lambda: client.webhooks.unwrap(
                again[0] + b" ", again[1], secret=hook["signing_secret"]
            ),
        )
        rotated = hooks.post(
            f"/{hook['id']}/rotate_secret", keep_old_secret_active_for_24_hours=True
        )
        sent = hooks.post(f"/{hook['id']}/test", event_type="video.failed")
        assert (sent["status_code"], sent["success"]) == (200, True)
        body, headers = got.get(timeout=30)
        for secret in (hook["signing_secret"], rotated["signing_secret"]):
            assert client.webhooks.unwrap(body, headers, secret=secret).type == "video.failed"
        client.delete(f"/webhook_endpoints/{hook['id']}", cast_to=object)


def webhook_endpoints_crud(client: Client) -> None:
    if not hasattr(client.webhooks, "create"):
        return _webhook_endpoints_by_path(client)
    hooks: Any = client.webhooks
    assert hooks.event_types.list().data == [
        f"{kind}.{end}" for kind in ("video", "workflow") for end in ("completed", "failed")
    ]
    made_ = hooks.create(name="n", url="https://hooks.example/h", event_types=["video.failed"])
    assert made_.object == "webhook_endpoint" and made_.signing_secret.startswith("whsec_")
    found = hooks.retrieve(made_.id)
    assert (found.name, found.url, found.event_types) == (made_.name, made_.url, ["video.failed"])
    assert made_.signing_secret.endswith(found.signing_secret_hint[-4:])
    changed = hooks.update(made_.id, name="m", event_types=["video.completed"])
    assert (changed.name, changed.event_types) == ("m", ["video.completed"])
    assert hooks.rotate_secret(made_.id).signing_secret != made_.signing_secret
    second = hooks.create(name="2", url="https://hooks.example/2", event_types=["video.failed"])
    assert [hook.id for hook in hooks.list(limit=1)] == [second.id, made_.id]
    for hook in (made_, second):
        deleted = hooks.delete(hook.id)
        assert (deleted.id, deleted.deleted) == (hook.id, True)
    missing = fails(openai.NotFoundError, lambda: hooks.retrieve(made_.id))
    assert missing.param == "webhook_endpoint_id"
    wrong = fails(
        openai.BadRequestError,
        lambda: hooks.create(name="n", url="http://hooks.example", event_types=["video.failed"]),
    )
    assert wrong.param == "url"


def _webhook_endpoints_by_path(client: Client) -> None:
    hooks = Webhooks(client)
    made_ = hooks.post("", name="n", url="https://hooks.example/h", event_types=["video.failed"])
    changed = hooks.post(f"/{made_['id']}", name="m")
    assert (changed["name"], changed["url"]) == ("m", made_["url"])
    listed: Any = client.get("/webhook_endpoints", cast_to=object)
    assert [hook["id"] for hook in listed["data"]] == [made_["id"]]
    client.delete(f"/webhook_endpoints/{made_['id']}", cast_to=object)
