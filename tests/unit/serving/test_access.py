"""Keys, scopes and tenants: who may do what, and what of others exists for whom."""

import pytest

from infra.catalog_models import ApiKey
from infra.errors import InputError, NotFoundError
from infra.settings import Settings
from serving.access import create_key, find_caller, list_keys, revoke_key
from tests.unit.serving.conftest import running


@pytest.fixture(scope="module")
def guarded(still_world, tmp_path_factory):
    """An app that asks for keys, on the catalog of one that does not."""
    home = tmp_path_factory.mktemp("guarded")
    with running(still_world.catalog, home, api_keys="required") as world:
        yield world


def key(world, tenant, **options):
    return create_key(world.catalog, name="k", tenant=tenant, **options)


def bearer(key):
    return {"authorization": f"Bearer {key}"}


@pytest.mark.parametrize(
    ("host", "asked", "needs"),
    [
        ("127.0.0.1", "auto", False),
        ("localhost", "auto", False),
        ("::1", "auto", False),
        ("0.0.0.0", "auto", True),
        ("reel.example", "auto", True),
        ("127.0.0.1", "required", True),
        ("0.0.0.0", "off", False),
    ],
)
def test_keys_are_needed_where_others_can_call(host, asked, needs):
    assert Settings(host=host, api_keys=asked).needs_keys == needs


def test_every_process_of_the_stack_knows_who_may_call_and_be_called(monkeypatch):
    said = Settings(api_keys="required", private_hosts=["a.example"], fetch_urls=True)
    for name, value in said.process_env().items():
        monkeypatch.setenv(name, value)
    heard = Settings()
    for name in ("api_keys", "private_hosts", "fetch_urls", "queue_device_s"):
        assert getattr(heard, name) == getattr(said, name)


def test_only_the_hash_of_a_key_is_kept(catalog):
    made = create_key(catalog, name="n", tenant="t", scopes=("read",))
    with catalog.session(read_only=True) as session:
        (row,) = session.query(ApiKey)
    assert made.startswith("reel_") and made not in str(vars(row))
    caller = find_caller(catalog, made)
    assert (caller.tenant, caller.scopes) == ("t", ("read",))
    assert find_caller(catalog, made + "x") is None
    revoke_key(catalog, row.id)
    assert find_caller(catalog, made) is None and list_keys(catalog)[0].revoked_at
    with pytest.raises(NotFoundError):
        revoke_key(catalog, 99)


@pytest.mark.parametrize("wrong", [{"scopes": ("all",)}, {"scopes": ()}, {"tenant": ""}])
def test_a_key_needs_a_tenant_and_scopes_that_exist(catalog, wrong):
    with pytest.raises(InputError):
        create_key(catalog, **({"name": "n", "tenant": "t"} | wrong))


@pytest.mark.parametrize("headers", [{}, bearer("reel_wrong"), {"authorization": "Basic a"}])
def test_without_a_known_key_nothing_is_told(guarded, headers):
    for path in ("/v1/videos", "/v1/videos/video_x", "/v1/models", "/v1/nothing"):
        reply = guarded.client.get(path, headers=headers)
        assert (reply.status_code, reply.json()["error"]["code"]) == (401, "invalid_api_key")
    assert guarded.client.get("/healthz").status_code == 200


def test_a_scope_limits_what_a_key_does(guarded):
    reader = bearer(key(guarded, "a", scopes=("read",)))
    assert guarded.client.get("/v1/videos", headers=reader).status_code == 200
    for method, path in (
        ("POST", "/v1/videos"),
        ("DELETE", "/v1/videos/x"),
        ("GET", "/v1/webhook_endpoints"),
    ):
        reply = guarded.client.request(method, path, headers=reader, json={"prompt": "a"})
        assert (reply.status_code, reply.json()["error"]["code"]) == (403, "insufficient_scope")


def test_what_another_tenant_made_does_not_exist(guarded):
    mine, theirs = bearer(key(guarded, "mine")), bearer(key(guarded, "theirs"))
    client = guarded.client
    video = client.post("/v1/videos", json={"prompt": "a", "seconds": 1}, headers=mine).json()["id"]
    endpoint = {"name": "n", "url": "https://a.example/", "event_types": ["video.failed"]}
    hook = client.post("/v1/webhook_endpoints", json=endpoint, headers=mine).json()["id"]
    extension = {"prompt": "a", "video": {"id": video}}
    calls = [
        ("GET", f"/v1/videos/{video}", None),
        ("GET", f"/v1/videos/{video}/content", None),
        ("GET", f"/v1/videos/{video}/events", None),
        ("POST", f"/v1/videos/{video}/remix", {"prompt": "b"}),
        ("POST", f"/v1/videos/{video}/cancel", None),
        ("POST", "/v1/videos/extensions", extension),
        ("DELETE", f"/v1/videos/{video}", None),
        ("GET", f"/v1/webhook_endpoints/{hook}", None),
        ("POST", f"/v1/webhook_endpoints/{hook}", {"name": "x"}),
        ("POST", f"/v1/webhook_endpoints/{hook}/rotate_secret", None),
        ("DELETE", f"/v1/webhook_endpoints/{hook}", None),
    ]
    for method, path, body in calls:
        reply = client.request(method, path, json=body, headers=theirs)
        assert (reply.status_code, reply.json()["error"]["code"]) == (404, "not_found"), path
        unknown = path.replace(video, "video_0").replace(hook, "we_0")
        assert client.request(method, unknown, json=body, headers=theirs).status_code == 404
    for path in ("/v1/videos", "/v1/webhook_endpoints"):
        assert client.get(path, headers=theirs).json()["data"] == []
        assert len(client.get(path, headers=mine).json()["data"]) == 1
    assert client.get("/v1/videos", params={"after": video}, headers=theirs).status_code == 400


def test_keys_of_idempotency_are_the_tenants_own(guarded):
    ids = []
    for tenant in ("one", "one", "two"):
        headers = bearer(key(guarded, tenant)) | {"idempotency-key": "same"}
        reply = guarded.client.post("/v1/videos", json={"prompt": "a"}, headers=headers)
        ids.append(reply.json()["id"])
    assert ids[0] == ids[1] != ids[2]
