import errno
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra.errors import InfrastructureError
from ingest.film import FilmResult, ingest_film
from ingest.reader import BEAT, _listen
from ingest.recipe import IngestRecipe
from ingest.sandbox import Limits, Sandbox
from tests.unit.ingest.footage import shot, three_shots, write


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Takes a second or so to read."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    return write(path, np.concatenate([shot(number, 100) for number in range(9)]))


@pytest.fixture(scope="module")
def undisturbed(film: Path, tmp_path_factory: pytest.TempPathFactory) -> FilmResult:
    return ingest_film(film, source(film), IngestRecipe(), tmp_path_factory.mktemp("clips"))


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    with Sandbox(tmp_path / "spool") as found:
        yield found


def source(path: Path) -> dict[str, Any]:
    facts = path.stat()
    return {"uri": path.as_uri(), "source_id": "ab" * 32, "size_bytes": facts.st_size,
            "mtime_ns": facts.st_mtime_ns}  # fmt: skip


def read(sandbox: Sandbox, path: Path) -> FilmResult:
    return sandbox.read(path, source(path), IngestRecipe())


def disturb(sandbox: Sandbox, levels: int, number: int) -> threading.Thread:
    """Send a signal to the reader (1 level down) or to its child (2), once there is a child."""

    def act() -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            server = sandbox._process.pid if sandbox._process else 0
            if child := first_child(server):
                with suppress(ProcessLookupError):
                    os.kill(server if levels == 1 else child, number)
                    return
            time.sleep(0.002)

    thread = threading.Thread(target=act)
    thread.start()
    return thread


def first_child(pid: int) -> int:
    """0 when it has none."""
    try:
        listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return 0
    return int((listed.split() or ["0"])[0])


def assert_same(result: FilmResult, wanted: FilmResult) -> None:
    assert result.source == wanted.source
    assert result.clips == wanted.clips
    assert len(result.clip_files) == 9
    for clip_id, file in result.clip_files.items():
        assert file.read_bytes() == wanted.clip_files[clip_id].read_bytes()


def test_a_child_finds_what_reading_in_process_finds(
    sandbox: Sandbox, film: Path, undisturbed: FilmResult
) -> None:
    result = read(sandbox, film)
    assert_same(result, undisturbed)
    assert 10 << 20 < result.peak_bytes < 1 << 30


@pytest.mark.parametrize("levels", [1, 2])
def test_a_reader_that_someone_killed_reads_the_film_again(
    sandbox: Sandbox, film: Path, undisturbed: FilmResult, levels: int
) -> None:
    killer = disturb(sandbox, levels, signal.SIGKILL)
    assert_same(read(sandbox, film), undisturbed)
    killer.join()


def test_a_film_that_crashes_the_decoder_is_quarantined_and_the_next_is_read(
    sandbox: Sandbox, film: Path, tmp_path: Path
) -> None:
    for _ in range(5):  # on a busy machine the film may be read before the signal is sent
        killer = disturb(sandbox, 2, signal.SIGSEGV)
        result = read(sandbox, film)
        killer.join()
        if result.stage:
            break
        result.forget_files()
    assert (result.stage, result.reason) == ("decode", "decoding it crashed the reader (SIGSEGV)")
    assert result.source["status"] == "quarantined"
    assert result.source["recipe"] and result.source["hash_video"] is None
    assert list((tmp_path / "spool").iterdir()) == []
    assert read(sandbox, three_shots(tmp_path / "next.mp4")).source["status"] == "accepted"


def test_a_film_that_changes_while_it_is_read_is_left_for_the_next_refresh(
    sandbox: Sandbox, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    growing = tmp_path / "growing.mp4"
    growing.write_bytes(film.read_bytes())
    ask = Sandbox._ask

    def ask_and_write(self: Sandbox, request: dict[str, Any]) -> dict[str, Any] | None:
        reply = ask(self, request)
        with growing.open("ab") as handle:
            handle.write(b"more")
        return reply

    monkeypatch.setattr(Sandbox, "_ask", ask_and_write)
    result = read(sandbox, growing)
    assert result.reason.startswith("the file changed while it was read")
    assert (result.source["status"], result.clip_files) == ("quarantined", {})


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(stall_s=0.05), "the decoder hung: not a frame in 0.05 s"),
        (Limits(base_s=0.05, bytes_per_s=1e12), "reading it took longer than the 0 s"),
        (Limits(memory_bytes=1 << 28), "reading it takes too much memory"),
    ],
)
def test_a_film_beyond_a_limit_is_quarantined_with_the_limit_as_its_reason(
    film: Path, tmp_path: Path, limits: Limits, reason: str
) -> None:
    if "memory" in reason:
        frames = np.zeros((2, 6000, 6000, 3), np.uint8)
        film = write(tmp_path / "large.mp4", frames, options={"preset": "ultrafast"})
    with Sandbox(tmp_path / "spool", limits) as sandbox:
        result = read(sandbox, film)
    assert result.reason.startswith(reason), result.reason + result.error
    assert result.source["status"] == "quarantined"


def test_a_slow_decoder_that_still_beats_is_waited_for() -> None:
    (receive, send), (asker, we) = os.pipe(), os.pipe()

    def slow_child() -> None:
        for _ in range(6):
            time.sleep(0.1)
            os.write(send, BEAT)
        os.write(send, b'{"ended": "well"}')
        os.close(send)

    thread = threading.Thread(target=slow_child)
    thread.start()
    assert _listen(receive, asker, wall_s=60, stall_s=0.4) == {"ended": "well"}
    thread.join()
    for handle in (receive, asker, we):
        os.close(handle)


def test_a_full_disk_is_not_the_films_fault(
    sandbox: Sandbox, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr("ingest.film.extract", full)
        ingest_film(film, source(film), IngestRecipe(), tmp_path)
    said = {"ended": "failed", "error": "OSError: No space left on device"}
    monkeypatch.setattr(sandbox, "_ask", lambda _: said)
    with pytest.raises(InfrastructureError, match=r"No space left on device; see that .*spool"):
        read(sandbox, film)


def test_a_reader_that_does_not_start_is_not_the_films_fault(
    sandbox: Sandbox, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.sandbox.sys.executable", "/bin/false")
    with pytest.raises(InfrastructureError, match="ended with status 1"):
        read(sandbox, film)
