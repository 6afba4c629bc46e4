import hashlib
import os
from pathlib import Path

import pytest

from infra.errors import InputError, NotFoundError
from ingest.sources import content_id, find_films, is_there


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def names(folder: Path) -> list[str]:
    return [film.path.name for film in find_films(str(folder)) if film.path]


def test_films_are_found_in_subfolders_by_extension(tmp_path: Path) -> None:
    for name in ("a.mp4", "deep/er/B.MKV", "c.webm", "notes.txt", "sound.wav", "movie.mp4/x.mov"):
        touch(tmp_path / name)
    assert sorted(names(tmp_path)) == ["B.MKV", "a.mp4", "c.webm", "x.mov"]


def test_hidden_files_and_folders_are_skipped(tmp_path: Path) -> None:
    for name in (".a.mp4", ".cache/b.mp4", "c.mp4"):
        touch(tmp_path / name)
    assert names(tmp_path) == ["c.mp4"]


def problems(folder: Path) -> dict[str, str]:
    return {
        film.uri.split("/")[-1]: film.problem for film in find_films(str(folder)) if film.problem
    }


def test_a_pipe_with_a_films_name_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "live.mp4")
    touch(tmp_path / "film.mp4")
    assert names(tmp_path) == ["film.mp4"]
    assert problems(tmp_path) == {"live.mp4": "it is not a file; name each film"}


def test_a_folder_that_may_not_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / "film.mp4")
    touch(tmp_path / "closed/film.mp4")
    scan = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert names(tmp_path) == ["film.mp4"]
    assert problems(tmp_path) == {"closed": "the folder cannot be read: Permission denied"}


def test_links_out_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    outside = touch(tmp_path / "outside/secret.mp4")
    inside = touch(tmp_path / "in/film.mp4").parent
    (inside / "link.mp4").symlink_to(outside)
    (inside / "folder").symlink_to(outside.parent)
    (inside / "dangling.mp4").symlink_to(inside / "gone.mp4")
    (inside / "again.mp4").symlink_to("film.mp4")
    (inside / "round.mp4").symlink_to("round.mp4")
    assert names(inside) == ["again.mp4", "film.mp4"]
    outside_words = "a link that leads out of the folder is not followed"
    assert problems(inside) == {
        "dangling.mp4": "there is no such file",
        "folder": outside_words,
        "link.mp4": outside_words,
        "round.mp4": "the file cannot be looked at: Too many levels of symbolic links",
    }


def test_a_caption_file_that_is_a_link_out_of_the_folder_is_not_read(tmp_path: Path) -> None:
    folder = tmp_path / "footage"
    for name in ("a.mp4", "b.mp4", "words/b.txt"):
        touch(folder / name)
    secret = touch(tmp_path / "secret")
    (folder / "a.txt").symlink_to(secret)
    (folder / "b.txt").symlink_to(folder / "words/b.txt")
    for place in (folder, folder / "a.mp4"):
        first, *rest = find_films(str(place))
        assert first.captions and first.captions.path is None
        assert first.captions.problem == "a link that leads out of the folder is not followed"
        assert all(film.captions and film.captions.path for film in rest)


def test_one_file_and_file_uris_are_sources_too(tmp_path: Path) -> None:
    film = touch(tmp_path / "with space.mp4")
    assert names(film) == ["with space.mp4"]
    (found,) = find_films(tmp_path.as_uri())
    assert found.uri == film.as_uri()


def test_what_cannot_be_ingested_is_one_clear_sentence(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no folder or file .*/gone"):
        find_films(str(tmp_path / "gone"))
    with pytest.raises(InputError, match="is empty; put films in it"):
        find_films(str(tmp_path))
    touch(tmp_path / "notes.txt")
    with pytest.raises(InputError, match="holds no video file"):
        find_films(str(tmp_path))


def test_vtt_comes_before_json_before_txt(tmp_path: Path) -> None:
    touch(tmp_path / "film.mp4")
    for suffix in (".txt", ".json", ".vtt"):
        beside = touch(tmp_path / f"film{suffix}")
        captions = find_films(str(tmp_path))[0].captions
        assert captions is not None
        assert captions.path == beside


def test_names_that_are_not_text_get_a_uri(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/caf\xe9'.mp4"
    Path(os.fsdecode(name)).write_bytes(b"x")
    (film,) = find_films(str(tmp_path))
    assert film.uri.endswith("/caf%E9%27.mp4")
    assert is_there(film.uri)


def test_content_id_is_the_contents_sha256(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(b"abc" * 1_000_000)
    assert content_id(path) == hashlib.sha256(b"abc" * 1_000_000).hexdigest()
