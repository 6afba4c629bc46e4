"""Every delivered file is signed, says which job made it, and shows when it was changed."""

import json
import stat
import threading
from pathlib import Path

import av
import c2pa
import pytest
from PIL import Image

from infra.catalog_models import GenerationJob
from infra.errors import InputError
from infra.job_files import write_json
from infra.settings import Settings
from serving.certificates import FOLDER, anchors, make_chain, read_identity, signing_identity
from serving.delivery import artifact, write_picture, write_video
from serving.inspection import Inspection, inspect
from serving.plain_id import TERMS, read_plain_id
from serving.provenance import Provenance
from tests.unit.serving.calls import content, create, frames_of, picture_frames

JOB = "video_0123456789abcdef"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    settings = Settings(home=tmp_path_factory.mktemp("home"))
    manifest = {"release": "r1", "mlflow_run_id": "run7", "recipe_hash": "abc"}
    write_json(settings.home / "models/3/manifest.json", manifest)
    return settings


@pytest.fixture(scope="module")
def provenance(settings: Settings) -> Provenance:
    return Provenance(settings)


@pytest.fixture(scope="module")
def sealed(settings: Settings, provenance: Provenance) -> dict[str, Path]:
    """The files of one job, by suffix, as the server delivers them."""
    folder = settings.media_dir / JOB
    folder.mkdir(parents=True)
    paths = write_video(picture_frames(6), 8, folder, 1, lambda _count: None)
    picture = folder / "image0-1.png"
    write_picture(Image.new("RGB", (32, 32)), picture, 90)
    artifacts = [artifact(JOB, path.stem, path) for path in (*paths, picture)]
    before = [entry.sha256 for entry in artifacts]
    job = GenerationJob(
        id=JOB, kind="video", model_version="3", params={"seed": 1}, parent_id="video_parent"
    )
    provenance.seal(job, artifacts)
    for entry, old in zip(artifacts, before, strict=True):
        assert (entry.sha256, entry.size_bytes) != (old, 0)
        path = settings.media_dir / entry.path
        assert artifact(JOB, entry.name, path).sha256 == entry.sha256
        assert entry.size_bytes == path.stat().st_size
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        Path(entry.path).name for entry in artifacts
    )
    return {path.suffix: path for path in (*paths, picture)}


def look(settings: Settings, path: Path) -> Inspection:
    return inspect(path, anchors(settings))


SUFFIXES = (".mp4", ".webp", ".jpeg", ".png")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_delivered_file_says_who_made_it_of_what(settings, sealed, suffix) -> None:
    seen = look(settings, sealed[suffix])
    assert (seen.signature, seen.problems, seen.plain_id) == ("here", [], JOB)
    assert seen.claims == {
        "job": JOB,
        "parent_job": "video_parent",
        "model_version": "3",
        "mlflow_run_id": "run7",
        "release": "r1",
        "recipe": "abc",
        "certificate": "self-made",
    }
    with c2pa.Reader(sealed[suffix]) as reader:
        manifest = reader.get_active_manifest()
    actions = next(a["data"] for a in manifest["assertions"] if "c2pa.actions" in a["label"])
    (action,) = actions["actions"]
    assert action["action"] == "c2pa.created"
    assert action["digitalSourceType"] == TERMS["generated"]


def test_others_read_it_as_whole_but_unknown(sealed) -> None:
    for path in sealed.values():
        assert inspect(path, b"").signature == "elsewhere"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_one_changed_byte_shows(settings, sealed, tmp_path: Path, suffix) -> None:
    data = bytearray(sealed[suffix].read_bytes())
    at = data.index(
        {".mp4": b"mdat", ".webp": b"VP8", ".jpeg": b"\xff\xda", ".png": b"IDAT"}[suffix]
    )
    data[at + 20] ^= 1
    changed = tmp_path / f"changed{suffix}"
    changed.write_bytes(data)
    seen = look(settings, changed)
    assert seen.signature == "changed" and any("mismatch" in p for p in seen.problems)
    assert seen.job_id == JOB


def test_without_its_signature_a_file_still_has_its_plain_id(settings, sealed, tmp_path) -> None:
    bare = tmp_path / "bare.mp4"
    with av.open(str(sealed[".mp4"])) as old, av.open(str(bare), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        new.metadata["comment"] = old.metadata["comment"]
        for packet in old.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    png = tmp_path / "bare.png"
    with Image.open(sealed[".png"]) as picture:
        comment = picture.text["Comment"]
        picture.save(png, pnginfo=_text("Comment", comment))
    for path in (bare, png):
        assert look(settings, path) == Inspection(signature="none", plain_id=JOB)


def _text(name: str, text: str):
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text(name, text)
    return info


def test_files_of_strangers_have_no_id(tmp_path: Path) -> None:
    for name, data in (("a", b""), ("b.png", b"\x89PNG\r\n"), ("c.mp4", b"\0\0\0\x18ftypmp42")):
        (tmp_path / name).write_bytes(data)
        assert read_plain_id(tmp_path / name) is None
        assert inspect(tmp_path / name, b"").job_id is None


def test_an_extension_of_a_users_clip_is_partly_theirs(settings, provenance, tmp_path) -> None:
    def kind_of(job: GenerationJob) -> str:
        folder = settings.media_dir / job.id
        folder.mkdir()
        write_picture(Image.new("RGB", (32, 32)), folder / "a.png", 90)
        provenance.seal(job, [artifact(job.id, "a", folder / "a.png")])
        with c2pa.Reader(folder / "a.png") as reader:
            text = json.dumps(reader.get_active_manifest())
        return next(name for name, term in TERMS.items() if f'"{term}"' in text)

    given = {"input": "input.video"}
    theirs = GenerationJob(id="video_1", kind="extension", params=given, model_version="3")
    ours = GenerationJob(
        id="video_2", kind="extension", params=given, model_version="3", parent_id="video_0"
    )
    assert (kind_of(theirs), kind_of(ours)) == ("composite", "generated")


def test_what_the_api_delivers_is_signed(world) -> None:
    video = create(world, seconds=1, seed=5)
    assert world.finish(video["id"])["status"] == "completed"
    path = world.settings.home / "got"
    for variant in ("video", "thumbnail", "spritesheet"):
        path.write_bytes(content(world, video["id"], variant))
        seen = look(world.settings, path)
        assert (seen.signature, seen.claims["job"]) == ("here", video["id"]), variant
    assert len(frames_of(content(world, video["id"]))) == 8
    reply = world.client.get("/healthz").json()["provenance"]
    assert reply["certificate"] == "self-made" and "self-made" in reply["subject"]


def test_a_file_that_cannot_be_signed_is_not_delivered(world, monkeypatch) -> None:
    def broken(*_args, **_options) -> None:
        raise c2pa.C2paError.Signature("no key")

    monkeypatch.setattr(Provenance, "sign", broken)
    video = world.finish(create(world, seconds=1)["id"])
    assert (video["status"], video["error"]["code"]) == ("failed", "generation_failed")
    assert world.files() == [video["id"]]


def test_the_chain_is_made_once_and_its_key_is_private(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    found: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: found.append(signing_identity(settings).chain))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and len(set(found)) == 1
    folder = settings.home / FOLDER
    assert stat.S_IMODE((folder / "key.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert sorted(path.name for path in settings.home.iterdir()) == [FOLDER]


def test_a_key_of_ones_own_signs(tmp_path: Path) -> None:
    make_chain(tmp_path / "mine")
    (tmp_path / "mine/key.pem").rename(tmp_path / "signing.pem")
    settings = Settings(
        home=tmp_path / "home",
        provenance_key=tmp_path / "signing.pem",
        provenance_certificate=tmp_path / "mine/chain.pem",
    )
    path = tmp_path / "a.png"
    Image.new("RGB", (16, 16)).save(path)
    provenance = Provenance(settings)
    provenance.sign(path, {"job": JOB})
    assert inspect(path, anchors(settings)).signature == "here"
    assert provenance.identity.kind == "from settings" and not settings.home.exists()
    assert "PRIVATE" not in repr(provenance.identity)


def test_keys_that_cannot_sign_are_named(tmp_path: Path) -> None:
    make_chain(tmp_path / "a")
    make_chain(tmp_path / "b")
    key, chain = tmp_path / "a/key.pem", tmp_path / "a/chain.pem"
    (tmp_path / "junk").write_text("junk")
    for paths, says in (
        ((key, tmp_path / "b/chain.pem"), "is not that of"),
        ((key, tmp_path / "none.pem"), "cannot be read"),
        ((key, tmp_path / "junk"), "is not a chain"),
        ((tmp_path / "junk", chain), "is not a PEM private key"),
    ):
        with pytest.raises(InputError, match=says):
            read_identity(*paths, self_made=False)
    with pytest.raises(InputError, match="belong together"):
        signing_identity(Settings(home=tmp_path, provenance_key=key))
