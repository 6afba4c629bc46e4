"""Webhooks: signed as the standard says, delivered until taken, in order of backoff."""

import threading
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import openai
import pytest
from sqlalchemy import select

from infra.catalog_models import WebhookDelivery, WebhookEndpoint, utc_now
from serving.happenings import event
from serving.outbox import Backoff, Outbox, new_secret, signature, signed_headers
from tests.unit.serving.test_job_store import _claimed as claimed

HERE = ("127.0.0.1",)


@contextmanager
def receiver(*answers):
    """(URL, list of what came) of a server on loopback that gives these answers, then 200."""
    got, left = [], list(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            got.append((body, {name.lower(): value for name, value in self.headers.items()}))
            self.send_response(left.pop(0) if left else 200)
            self.end_headers()

        def log_message(self, *_args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/hook?a=1", got
    server.shutdown()
    thread.join()
    server.server_close()


def endpoint(catalog, url, **fields):
    fields = {"name": "n", "event_types": ["video.completed"], "secret": new_secret()} | fields
    row = WebhookEndpoint(id=f"we_{url}{fields.get('owner', '')}", url=url, **fields)
    with catalog.session() as session:
        session.add(row)
    return row


def deliveries(catalog):
    with catalog.session(read_only=True) as session:
        return list(session.scalars(select(WebhookDelivery).order_by(WebhookDelivery.id)))


def make_due(catalog):
    with catalog.session() as session:
        for row in session.scalars(select(WebhookDelivery)):
            row.next_at = utc_now()


def test_the_signature_is_the_standards_own():
    # The example of standardwebhooks.com.
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    body = '{"test": 2432232314}'
    made = signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_client_takes_both_secrets_while_the_old_one_is_valid():
    old, new = new_secret(), new_secret()
    event_id, body = event("video.completed", "video_1")
    row = WebhookEndpoint(secret=new, old_secret=old, old_secret_until=utc_now())
    with openai.OpenAI(api_key="k", base_url="http://127.0.0.1:1") as client:
        headers = signed_headers(row, event_id, body)
        assert client.webhooks.unwrap(body, headers, secret=new).data.id == "video_1"
        with pytest.raises(openai.InvalidWebhookSignatureError):
            client.webhooks.unwrap(body, headers, secret=old)
        row.old_secret_until = utc_now() + timedelta(minutes=1)
        headers = signed_headers(row, event_id, body)
        for secret in (old, new):
            assert client.webhooks.unwrap(body, headers, secret=secret).type == "video.completed"


def test_waits_grow_to_the_longest():
    backoff = Backoff(first_s=5, factor=4, longest_s=60)
    assert [backoff.after(attempts) for attempts in (1, 2, 3, 4000)] == [5, 20, 60, 60]


def test_the_end_of_a_job_reaches_those_who_asked_and_nobody_else(store, catalog):
    with receiver() as (url, got):
        endpoint(catalog, url)
        endpoint(catalog, url, owner="somebody else")
        endpoint(catalog, f"{url}&failures", event_types=["video.failed"])
        claim = claimed(store)
        store.complete(claim, [], {})
        assert Outbox(catalog, HERE).deliver_due() == 1
    ((body, headers),) = got
    assert claim.job.id in body.decode() and headers["webhook-id"] in body.decode()
    (row,) = deliveries(catalog)
    assert (row.status, row.attempts, row.last_answer) == ("delivered", 1, "200")


def test_what_is_not_taken_comes_again_and_is_given_up_at_last(store, catalog):
    with receiver(500, 302) as (url, got):
        endpoint(catalog, url)
        store.complete(claimed(store), [], {})
        outbox = Outbox(catalog, HERE, Backoff(first_s=3600))
        for attempts, answer in ((1, "500"), (2, "302")):
            assert outbox.deliver_due() == 1 and outbox.deliver_due() == 0
            (row,) = deliveries(catalog)
            assert (row.status, row.attempts, row.last_answer) == ("pending", attempts, answer)
            assert row.next_at > utc_now() + timedelta(minutes=50)
            make_due(catalog)
        assert outbox.deliver_due() == 1
        assert deliveries(catalog)[0].status == "delivered"
    assert len({headers["webhook-id"] for _, headers in got}) == 1
    store.complete(claimed(store), [], {})
    Outbox(catalog, HERE, Backoff(give_up_s=0)).deliver_due()  # nobody listens there any more
    row = deliveries(catalog)[1]
    assert (row.status, row.last_answer) == ("given_up", "no answer (ConnectionRefusedError)")


def test_deliveries_that_ended_long_ago_are_forgotten(store, catalog):
    endpoint(catalog, "https://a.example")
    for _ in range(3):
        store.complete(claimed(store), [], {})
    with catalog.session() as session:
        old, new, _pending = session.scalars(select(WebhookDelivery).order_by(WebhookDelivery.id))
        old.ended_at, new.ended_at = utc_now() - timedelta(days=8), utc_now()
    Outbox(catalog, HERE).prune()
    assert [row.id for row in deliveries(catalog)] == [2, 3]


def test_a_lost_job_is_announced_too(store, catalog):
    endpoint(catalog, "https://a.example", event_types=["video.failed"])
    claim = claimed(store)
    store.cancel(claim.job.id)
    assert '"video.failed"' in deliveries(catalog)[0].body


def test_a_deleted_endpoint_takes_its_deliveries_with_it(world):
    body = {"name": "n", "url": "https://a.example/", "event_types": ["video.completed"]}
    hook = world.client.post("/v1/webhook_endpoints", json=body).json()
    assert hook["signing_secret"].startswith("whsec_")
    shown = world.client.get(f"/v1/webhook_endpoints/{hook['id']}").json()
    assert "signing_secret" not in shown
    video = world.client.post("/v1/videos", json={"prompt": "a", "seconds": 1}).json()
    world.finish(video["id"])
    assert len(deliveries(world.catalog)) == 1
    world.client.delete(f"/v1/webhook_endpoints/{hook['id']}")
    assert deliveries(world.catalog) == []


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"url": "http://a.example/"}, "url"),
        ({"url": "ftp://a.example/"}, "url"),
        ({"url": "https://user:word@a.example/"}, "url"),
        ({"url": "https://a.example/\r\nx: y"}, "url"),
        ({"url": "https://[::1/"}, "url"),
        ({"event_types": ["batch.completed"]}, "event_types"),
        ({"event_types": []}, "event_types"),
        ({"name": ""}, "name"),
        ({"secret": "mine"}, "secret"),
    ],
)
def test_wrong_endpoints_are_refused(still_world, fields, param):
    body = {"name": "n", "url": "https://a.example/", "event_types": ["video.failed"]} | fields
    reply = still_world.client.post("/v1/webhook_endpoints", json=body)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)
    assert still_world.client.get("/v1/webhook_endpoints").json()["data"] == []
