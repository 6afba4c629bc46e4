import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from infra import clip_reads
from infra.clip_reads import map_clips
from infra.errors import NotFoundError
from infra.lake import Lake

CLIPS = {f"clip{number:02}": bytes([number]) * (number + 1) for number in range(20)}


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    monkeypatch.setattr(clip_reads, "CLIPS_PER_FETCH", 6)
    found = Lake(str(tmp_path / "lake"))
    found.ensure()
    found.write_clip_bytes(CLIPS)
    found.tag("r1")
    return found


def test_results_come_in_the_order_asked(lake: Lake) -> None:
    ids = [*reversed(CLIPS)]
    for threads in (1, 3):
        for release in (None, "r1"):
            found = map_clips(
                lake, ids, lambda index, data: (index, data), threads=threads, release=release
            )
            assert list(found) == [(index, CLIPS[name]) for index, name in enumerate(ids)]
    assert list(map_clips(lake, [], lambda _, data: data, threads=2)) == []


def test_the_next_clips_are_fetched_while_one_is_worked_on(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = threading.Event()

    def watched(clip_ids: Sequence[str], size: int, release: str | None) -> Iterator[object]:
        for number, batch in enumerate(Lake.clip_batches(lake, clip_ids, size, release)):
            if number == 1:
                fetched.set()
            yield batch

    monkeypatch.setattr(lake, "clip_batches", watched)
    done = map_clips(lake, [*CLIPS], lambda index, _: index or fetched.wait(60), threads=1)
    assert next(done) is True
    done.close()  # type: ignore[attr-defined]


def test_results_that_nobody_takes_stop_the_work_and_the_threads_end(lake: Lake) -> None:
    before, begun = threading.active_count(), list[int]()
    done = map_clips(lake, [*CLIPS], lambda index, _: begun.append(index), threads=2)
    next(done)
    assert len(begun) <= 5
    done.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_a_clip_without_bytes_and_work_that_fails_are_errors(lake: Lake) -> None:
    with pytest.raises(NotFoundError, match=r"1 of 2 clips have no stored bytes .*'nope'"):
        list(map_clips(lake, ["clip00", "nope"], lambda _, data: data, threads=2))

    def fail(index: int, _data: bytes) -> int:
        return 1 // (index - 7)

    with pytest.raises(ZeroDivisionError):
        list(map_clips(lake, [*CLIPS], fail, threads=2))
