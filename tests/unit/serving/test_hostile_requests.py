"""Requests that attack the server itself: parts without end, paths, full disks, other tenants."""

import errno
from pathlib import Path

import pytest

from serving import forms, uploads
from serving.provenance import Provenance
from tests.unit.serving.calls import create, png

PLACES = ("/v1/videos/{}", "/v1/videos/{}/content", "/v1/videos/{}/events", "/studio/{}", "/{}")
PATHS = ("..%2f..%2fcatalog.db", "..", "%2e%2e/%2e%2e/catalog.db", "a%00b", "%2fetc%2fpasswd")


@pytest.mark.parametrize("place", PLACES)
def test_no_path_in_an_address_leads_to_a_file(still_world, place: str) -> None:
    (still_world.settings.home / "secret.txt").write_text("a secret")
    for path in (*PATHS, "..%2fsecret.txt", "secret.txt"):
        reply = still_world.client.get(place.format(path))
        assert reply.status_code in (400, 404) or reply.headers["content-type"][:9] == "text/html"
        assert b"secret" not in reply.content.replace(path.encode(), b"").replace(
            b"secret.txt", b""
        )
        assert b"SQLite" not in reply.content


def test_parts_are_capped_one_by_one(still_world, monkeypatch) -> None:
    post, path = still_world.client.post, "/v1/videos"
    many = [(f"f{index}", ("a.png", png())) for index in range(forms.MAX_FILES + 1)]
    fields = {f"x{index}": "1" for index in range(forms.MAX_FIELDS + 1)}
    monkeypatch.setattr(forms, "MAX_TEXT_BYTES", 1000)
    for reply in (
        post(path, data={"prompt": "a"}, files=many),
        post(path, data=fields, files={"input_reference": ("a.png", png())}),
        post(path, data={"prompt": "a" * 2000}, files={"input_reference": ("a.png", png())}),
    ):
        assert reply.status_code == 400
        assert set(reply.json()["error"]) == {"message", "type", "param", "code"}
    assert still_world.files() == []


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "generation_failed"),
        (RuntimeError("CUDA error: out of memory"), "out_of_memory"),
        (MemoryError(), "out_of_memory"),
    ],
    ids=["disk", "cuda", "memory"],
)
def test_a_job_that_runs_out_of_something_ends_and_the_next_is_done(world, error, code) -> None:
    world.generator.error = error
    failed = world.finish(create(world, seconds=1)["id"])
    assert (failed["status"], failed["error"]["code"]) == ("failed", code)
    world.generator.error = None
    assert world.finish(create(world, seconds=1)["id"])["status"] == "completed"
    assert world.client.get("/healthz").json()["status"] == "ok"


def test_a_disk_that_is_full_when_a_file_is_signed_leaves_no_half_file(world, monkeypatch) -> None:
    def full(self, path, facts, *, composite=False) -> None:
        path.with_name(f".{path.stem}.signed{path.suffix}").write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Provenance, "sign", full)
    video = world.finish(create(world, seconds=1)["id"])
    assert video["status"] == "failed"
    assert world.files() == [video["id"]]


def test_the_studio_is_a_page_that_runs_nothing_of_others(still_world) -> None:
    page = still_world.client.get("/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    for name, kind in (("main.js", "text/javascript"), ("studio.css", "text/css")):
        reply = still_world.client.get(f"/studio/{name}")
        assert reply.headers["content-type"].startswith(kind)
        assert reply.headers["content-security-policy"] == policy
    folder = Path(uploads.__file__).parent / "studio"
    text = "".join(path.read_text() for path in folder.iterdir())
    assert "innerHTML" not in text and "http://www.w3.org" in text
    assert text.count("://") == text.count("http://www.w3.org")  # the icon's namespace
