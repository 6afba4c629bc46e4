"""Who calls: API keys, the tenant and the scopes that a key stands for.

    key = create_key(catalog, name="editor", tenant="film")    # shown once; only its hash is kept

Where keys are not required (the default on loopback), every caller is the tenant "" and may do
everything.
"""

import hmac
import secrets
from dataclasses import dataclass
from hashlib import sha256

from fastapi import Request
from sqlalchemy import select
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Scope, Send

from infra.catalog import Catalog
from infra.catalog_models import ApiKey, utc_now
from infra.errors import InputError, NotFoundError
from serving.wire import ApiError

SCOPES = ("read", "generate", "webhooks")
PREFIX = "reel_"


@dataclass(frozen=True, kw_only=True)
class Caller:
    """`quota_device_s`: device time that the tenant may use in a day; None is no limit."""

    tenant: str = ""
    scopes: tuple[str, ...] = SCOPES
    quota_device_s: float | None = None


def caller_of(request: Request) -> Caller:
    """The caller that `Keys` found."""
    caller: Caller = request.scope["reel_caller"]
    return caller


def create_key(
    catalog: Catalog,
    *,
    name: str,
    tenant: str,
    scopes: tuple[str, ...] = SCOPES,
    quota_device_s: float | None = None,
) -> str:
    """Make a key and return it.

    Raises:
        InputError: no tenant, or a scope that does not exist.
    """
    unknown = set(scopes) - set(SCOPES)
    if unknown or not scopes:
        raise InputError(f"there is no scope {sorted(unknown)}; the scopes are {', '.join(SCOPES)}")
    if not tenant:
        raise InputError("a key needs a tenant: what its holder makes belongs to that name")
    key = PREFIX + secrets.token_urlsafe(32)
    with catalog.session() as session:
        session.add(
            ApiKey(
                name=name,
                tenant=tenant,
                hash=_hash(key),
                scopes=" ".join(scopes),
                quota_device_s=quota_device_s,
            )
        )
    return key


def list_keys(catalog: Catalog) -> list[ApiKey]:
    with catalog.session(read_only=True) as session:
        return list(session.scalars(select(ApiKey).order_by(ApiKey.id)))


def revoke_key(catalog: Catalog, number: int) -> None:
    """Raises NotFoundError when there is no key of that number."""
    with catalog.session() as session:
        key = session.get(ApiKey, number)
        if key is None:
            raise NotFoundError(f"there is no key {number}; reel keys list shows them")
        key.revoked_at = key.revoked_at or utc_now()


def find_caller(catalog: Catalog, key: str) -> Caller | None:
    """The caller whose key this is, unless it was revoked."""
    wanted = _hash(key)
    with catalog.session(read_only=True) as session:
        row = session.scalars(select(ApiKey).where(ApiKey.hash == wanted)).first()
    # The index has compared hashes of random keys, which tells a guesser nothing; this compares
    # them in constant time as well.
    if row is None or row.revoked_at or not hmac.compare_digest(row.hash, wanted):
        return None
    scopes = tuple(row.scopes.split())
    return Caller(tenant=row.tenant, scopes=scopes, quota_device_s=row.quota_device_s)


def _hash(key: str) -> str:
    # Keys are 256 random bits: nothing to slow down for.
    return sha256(key.encode()).hexdigest()


class Keys:
    """Finds the caller of each request under /v1 and refuses those who may not."""

    def __init__(self, app: ASGIApp, catalog: Catalog, *, required: bool) -> None:
        self.app, self._catalog, self._required = app, catalog, required

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                scope["reel_caller"] = await self._caller(scope)
            except ApiError as error:
                return await error.reply()(scope, receive, send)
        await self.app(scope, receive, send)

    async def _caller(self, scope: Scope) -> Caller:
        if not self._required or not scope["path"].startswith("/v1/"):
            return Caller()
        given = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
        scheme, _, key = given.partition(" ")
        caller = None
        if scheme.lower() == "bearer" and key:
            caller = await run_in_threadpool(find_caller, self._catalog, key.strip())
        if caller is None:
            raise ApiError(
                "This API key is not known here; send a key as 'Authorization: Bearer …'."
                if given
                else "An API key is needed; send it as 'Authorization: Bearer …'.",
                code="invalid_api_key",
                status=401,
                headers={"www-authenticate": "Bearer"},
            )
        needed = needed_scope(scope["method"], scope["path"])
        if needed not in caller.scopes:
            raise ApiError(
                f"This key may not do that: it has {' '.join(caller.scopes)}, not {needed}.",
                code="insufficient_scope",
                status=403,
            )
        return caller


def needed_scope(method: str, path: str) -> str:
    """The scope that a request needs."""
    if path.startswith("/v1/webhook"):
        return "webhooks"
    return "read" if method in ("GET", "HEAD", "OPTIONS") else "generate"
