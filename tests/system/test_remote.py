import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from infra.errors import InfrastructureError, InputError, JobCancelledError, NotFoundError
from ingest.fetch import FetchError, FilmCache
from ingest.found import Found
from ingest.sources import find_films, is_there, scope

Site = tuple[str, Path, list[str]]


class Handler(SimpleHTTPRequestHandler):
    """A plain file server that notes what it is asked for."""

    def __init__(self, *args: Any, asked: list[str], **options: Any) -> None:
        self.asked = asked
        super().__init__(*args, **options)

    def do_GET(self) -> None:
        self.asked.append(self.path)
        super().do_GET()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """The address of a web server, the folder that it shows, and what was fetched from it."""
    root, asked = tmp_path / "site", list[str]()
    root.mkdir()
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Handler, asked=asked, directory=str(root))
    )
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", root, asked
    server.shutdown()
    server.server_close()
    thread.join()


def cache(folder: Path, limit_bytes: int = 1 << 20) -> FilmCache:
    return FilmCache(folder, limit_bytes, lambda: None)


def test_films_of_a_store_are_listed_with_their_captions(bucket: Any) -> None:
    for name in ("a.mp4", "deep/b.MKV", "deep/b.vtt", ".hidden/c.mp4", "deep/.d.mp4", "notes.pdf"):
        bucket.pipe(f"/films/{name}", b"12345")
    one, two = find_films("memory://films")
    assert (one.uri, two.uri) == ("memory:///films/a.mp4", "memory:///films/deep/b.MKV")
    assert (one.size_bytes, one.path, one.captions) == (5, None, None)
    assert two.captions is not None
    assert two.captions.uri == "memory:///films/deep/b.vtt"
    assert one.etag
    assert one.uri.startswith(scope("memory://films"))
    assert find_films("memory://films/a.mp4") == [one]  # the same version by another way of asking
    assert (is_there(one.uri), is_there("memory:///films/x.mp4")) == (True, False)


def test_a_manifest_names_films_of_its_own_store(bucket: Any) -> None:
    bucket.pipe("/sets/one/a.mp4", b"1")
    bucket.pipe("/sets/b.mp4", b"1")
    rows = ["uri", "one/a.mp4", "memory://sets/b.mp4", "/etc/passwd", "file:///etc/passwd", "x.mp4"]
    rows += ["local:///etc/passwd"]
    bucket.pipe("/sets/films.csv", "\n".join(rows).encode())
    films = find_films("memory://sets/films.csv")
    good = [film.uri for film in films if not film.problem]
    assert good == ["memory:///sets/b.mp4", "memory:///sets/one/a.mp4"]
    words = " ".join(film.problem for film in films)
    assert words.count("is a file of this machine, which only a local manifest may use") == 2
    assert words.count("'local:///etc/passwd' is a file of this machine") == 1
    assert "the file cannot be reached" in words


def test_what_cannot_be_found_elsewhere_is_one_sentence(bucket: Any, site: Site) -> None:
    address, root, _ = site
    bucket.pipe("/notes/a.txt", b"x")
    for uri, error, words in [
        ("memory://nothing", NotFoundError, "nothing is at memory://nothing"),
        ("memory://notes", InputError, "holds no video file"),
        ("no-such://x", InputError, "Protocol not known"),
        ("s3://bucket/films", InputError, "needs a package: pip install s3fs"),
        ("gs://bucket/films", InputError, "needs a package: pip install gcsfs"),
        ("https://me:secret@x/a.mp4", InputError, "holds a password"),
        ("zip://a.mp4::memory://x.zip", InputError, "inside another file"),
        (f"{address}/films", InputError, "a web folder cannot be listed"),
        (f"{address}/gone.mp4", NotFoundError, "404"),
        (f"{address}/gone.csv", NotFoundError, "nothing is at"),
        ("http://127.0.0.1:9/films.csv", InfrastructureError, "cannot be read"),
    ]:
        with pytest.raises(error, match=words):
            find_films(uri)
    with pytest.raises(InputError, match="password") as caught:
        find_films("https://me:secret@x/a.mp4")
    assert "secret" not in str(caught.value)
    assert root.exists()


def test_a_film_from_the_web_is_fetched_whole(site: Site, tmp_path: Path) -> None:
    address, root, asked = site
    (root / "a film.mp4").write_bytes(b"film" * 1000)
    (root / "films.csv").write_text("uri,licence\na%20film.mp4,CC0\n")
    (film,) = find_films(f"{address}/films.csv")
    assert film.size_bytes == 4000
    local = cache(tmp_path / "cache").fetch(film)
    assert local.path is not None
    assert local.path.read_bytes() == b"film" * 1000
    asked.clear()
    assert cache(tmp_path / "cache").fetch(film) == local  # another process
    assert asked == []
    cache(tmp_path / "cache").drop([film])
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_film_that_changed_elsewhere_is_another_version(site: Site, tmp_path: Path) -> None:
    address, root, _ = site
    (root / "a.mp4").write_bytes(b"old")
    (old,) = find_films(f"{address}/a.mp4")
    assert old.is_version({**old.facts()})
    (root / "a.mp4").write_bytes(b"newer")
    (new,) = find_films(f"{address}/a.mp4")
    assert not new.is_version({**old.facts()})
    local = cache(tmp_path / "cache").fetch(new)
    assert local.path is not None
    assert local.path.read_bytes() == b"newer"


@pytest.mark.parametrize("told", [0, 5000])
def test_nothing_larger_than_the_limit_is_kept(bucket: Any, tmp_path: Path, told: int) -> None:
    bucket.pipe("/a.mp4", b"x" * 5000)
    film = Found(uri="memory:///a.mp4", size_bytes=told, etag="1")
    with pytest.raises(FetchError, match="larger than the"):
        cache(tmp_path / "cache", 1000).fetch(film)
    assert not any(tmp_path.rglob("*.mp4*"))


def test_a_film_that_comes_short_or_not_at_all_leaves_nothing(bucket: Any, tmp_path: Path) -> None:
    bucket.pipe("/a.mp4", b"x" * 50)
    films = cache(tmp_path / "cache")
    with pytest.raises(FetchError, match="50 of 99 bytes arrived"):
        films.fetch(Found(uri="memory:///a.mp4", size_bytes=99, etag="1"))
    with pytest.raises(FetchError, match="could not be fetched") as caught:
        films.fetch(Found(uri="memory:///b.mp4", size_bytes=99, etag="1"))
    assert "FileNotFoundError" in caught.value.words
    assert list((tmp_path / "cache").iterdir()) == []


def test_fetching_ends_when_the_job_is_asked_to_stop(bucket: Any, tmp_path: Path) -> None:
    def stop() -> None:
        raise JobCancelledError("stop")

    bucket.pipe("/a.mp4", b"x" * 50)
    with pytest.raises(JobCancelledError):
        FilmCache(tmp_path, 1000, stop).fetch(Found(uri="memory:///a.mp4", etag="1"))
    assert list(tmp_path.iterdir()) == []


def test_batches_fit_the_limit_and_make_room(tmp_path: Path) -> None:
    def film(name: str, size: int, path: Path | None = None) -> Found:
        return Found(uri=f"memory:///{name}", size_bytes=size, path=path, etag="1")

    tmp_path.joinpath("left by an earlier run").write_bytes(b"x" * 90)
    films = [film("a", 60), film("b", 40), film("c", 30), film("d", 0), film("e", 999, tmp_path)]
    films += [Found(uri="memory:///f", problem="gone")] * 3
    runs = [[f.uri[-1] for f in batch] for batch in cache(tmp_path, 100).batches(films)]
    assert runs == [["e", "a", "b"], ["c"], ["d", "f", "f", "f"]]
    assert list(tmp_path.iterdir()) == []
