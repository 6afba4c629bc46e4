"""Webhooks: events leave the outbox, signed, until their endpoint has taken them.

    outbox = Outbox(catalog, private_hosts); outbox.start(); …; outbox.stop()

An event is in the outbox in the same transaction as the end of its job, so none is lost. Any
number of servers may deliver: a delivery is claimed by moving its next time ahead. Signatures are
those of standardwebhooks.com, which the openai client's `webhooks.unwrap` verifies.
"""

import base64
import hmac
import logging
import secrets
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import delete, select

from infra.catalog import Catalog
from infra.catalog_models import WebhookDelivery, WebhookEndpoint, utc_now
from serving.outbound import OutboundError, post, resolve

log = logging.getLogger(__name__)

SECRET_PREFIX = "whsec_"
POLL_S = 0.5
ANSWER_WITHIN_S = 10.0
BATCH = 16
KEEP = timedelta(days=7)
PRUNE_EVERY_S = 3600.0


@dataclass(frozen=True, kw_only=True)
class Backoff:
    """Waits of first_s, then `factor` times the one before, up to longest_s; given up after
    give_up_s."""

    first_s: float = 5.0
    factor: float = 4.0
    longest_s: float = 6 * 3600.0
    give_up_s: float = 72 * 3600.0

    def after(self, attempts: int) -> float:
        """Seconds to wait after that many attempts, one or more."""
        return float(min(self.first_s * self.factor ** min(attempts - 1, 30), self.longest_s))


def new_secret() -> str:
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def signature(secret: str, event_id: str, at: int, body: str) -> str:
    """`v1,` and the base64 HMAC-SHA256 of "id.timestamp.body"."""
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    digest = hmac.digest(key, f"{event_id}.{at}.{body}".encode(), "sha256")
    return "v1," + base64.b64encode(digest).decode()


def signed_headers(endpoint: WebhookEndpoint, event_id: str, body: str) -> dict[str, str]:
    """Headers of a delivery; the secret from before a rotation signs, too, while it is valid."""
    at = int(time.time())
    signatures = [signature(endpoint.secret, event_id, at, body)]
    until = endpoint.old_secret_until
    if endpoint.old_secret is not None and until is not None and until > utc_now():
        signatures.append(signature(endpoint.old_secret, event_id, at, body))
    return {
        "content-type": "application/json",
        "user-agent": "reelwright-webhooks",
        "webhook-id": event_id,
        "webhook-timestamp": str(at),
        "webhook-signature": " ".join(signatures),
    }


def send(
    endpoint: WebhookEndpoint, event_id: str, body: str, private_hosts: Collection[str]
) -> int:
    """Deliver once; returns the endpoint's status.

    Raises:
        OutboundError: the address may not be called, or does not answer.
    """
    target = resolve(endpoint.url, private_hosts)
    headers = signed_headers(endpoint, event_id, body)
    return post(target, body.encode(), headers, ANSWER_WITHIN_S)


class Outbox:
    """A thread that delivers what is due."""

    def __init__(
        self, catalog: Catalog, private_hosts: Collection[str], backoff: Backoff | None = None
    ) -> None:
        self._catalog = catalog
        self._private_hosts = private_hosts
        self._backoff = backoff or Backoff()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="outbox", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop; a delivery under way is made again by whoever looks next."""
        self._stop.set()
        self._thread.join(2)

    def _loop(self) -> None:
        next_prune = 0.0
        while not self._stop.is_set():
            try:
                if time.monotonic() >= next_prune:
                    self.prune()
                    next_prune = time.monotonic() + PRUNE_EVERY_S
                if self.deliver_due():
                    continue
            except Exception:
                log.exception("the outbox failed; it goes on")
            self._stop.wait(POLL_S)

    def deliver_due(self) -> int:
        """Try each delivery that is due, once; returns how many were tried."""
        due = self._claim()
        for delivery, endpoint in due:
            try:
                answer = send(endpoint, delivery.event_id, delivery.body, self._private_hosts)
            except OutboundError as error:
                self._note(delivery.id, str(error), taken=False)
            else:
                self._note(delivery.id, str(answer), taken=200 <= answer < 300)
        return len(due)

    def prune(self) -> None:
        """Forget deliveries that ended long ago."""
        old = WebhookDelivery.ended_at < utc_now() - KEEP
        with self._catalog.session() as session:
            session.execute(delete(WebhookDelivery).where(old))

    def _claim(self) -> list[tuple[WebhookDelivery, WebhookEndpoint]]:
        now = utc_now()
        due = WebhookDelivery.ended_at.is_(None) & (WebhookDelivery.next_at <= now)
        with self._catalog.session(read_only=True) as session:
            if session.scalars(select(WebhookDelivery.id).where(due).limit(1)).first() is None:
                return []
        query = select(WebhookDelivery).where(due).order_by(WebhookDelivery.next_at).limit(BATCH)
        with self._catalog.session() as session:
            found = list(session.scalars(query.with_for_update(skip_locked=True)))
            for delivery in found:
                # The lease: longer than all of this batch can take.
                delivery.next_at = now + timedelta(seconds=BATCH * 3 * ANSWER_WITHIN_S)
                delivery.attempts += 1
            return [
                (delivery, session.get_one(WebhookEndpoint, delivery.endpoint_id))
                for delivery in found
            ]

    def _note(self, delivery_id: int, answer: str, *, taken: bool) -> None:
        now = utc_now()
        with self._catalog.session() as session:
            delivery = session.get(WebhookDelivery, delivery_id, with_for_update=True)
            if delivery is None:  # its endpoint was deleted meanwhile
                return
            delivery.last_answer = answer[:200]
            age_s = (now - delivery.created_at).total_seconds()
            if taken or age_s > self._backoff.give_up_s:
                delivery.status = "delivered" if taken else "given_up"
                delivery.ended_at = now
            else:
                wait_s = self._backoff.after(delivery.attempts)
                delivery.next_at = now + timedelta(seconds=wait_s)
