from pathlib import Path

import pytest

from infra.errors import JobCancelledError
from infra.job_files import JobContext
from ingest.found import Found
from ingest.progress import Progress, in_words


class _Context(JobContext):
    def __init__(self) -> None:
        super().__init__({}, Path())
        self.reports: list[tuple[float, str]] = []

    def progress(self, done: float, total: float, message: str = "", **metrics: float) -> None:
        self.reports.append((done / total, message))


def film(number: int, size_bytes: int = 1 << 20) -> Found:
    return Found(uri=f"file:///films/a%20film%20{number}.mp4", size_bytes=size_bytes)


def forecasts(films: list[Found], speeds: list[float]) -> list[tuple[float, float | None]]:
    """The true and the foretold seconds left after each film, read at so many bytes a second."""
    now, found = 0.0, []
    progress = Progress(_Context(), films, clock=lambda: now)
    progress.start()
    times_s = [film.size_bytes / speed for film, speed in zip(films, speeds, strict=True)]
    for number, (one, time_s) in enumerate(zip(films, times_s, strict=True)):
        now += time_s
        progress.finish(one)
        found.append((sum(times_s[number + 1 :]), progress.left_s()))
    return found


def test_the_forecast_is_right_though_the_largest_films_come_first() -> None:
    sizes = [400 << 20] * 5 + [20 << 20] * 100
    films = [film(number, size) for number, size in enumerate(sizes)]
    for true_s, told_s in forecasts(films, [8 << 20] * len(films))[:-1]:
        assert told_s == pytest.approx(true_s, rel=0.05)


def test_the_forecast_follows_a_change_of_speed_within_minutes() -> None:
    films = [film(number) for number in range(1000)]
    speeds = [4 << 20] * 400 + [1 << 19] * 600
    true_s, told_s = forecasts(films, speeds)[480]
    assert told_s == pytest.approx(true_s, rel=0.05)


def test_nothing_is_foretold_of_the_first_seconds() -> None:
    (_, told_s), *_, (_, later_s) = forecasts([film(n) for n in range(9)], [1 << 20] * 9)
    assert told_s is None
    assert later_s == 0


def test_what_needs_no_reading_counts_as_done_and_not_as_speed() -> None:
    context, now = _Context(), 0.0
    films = [film(number) for number in range(100)]
    progress = Progress(context, films, clock=lambda: now)
    for copy in films[:50]:
        progress.look(copy)
        progress.settle(copy)
    progress.start()
    for one in films[50:60]:
        now += 6
        progress.finish(one)
    assert context.reports[0] == (0, "looked at 1 of 100 files · a film 0.mp4")
    assert context.reports[-1] == (0.6, "60 of 100 films · about 4 min left · a film 59.mp4")


def test_waiting_reports_again_and_obeys() -> None:
    context = _Context()
    progress = Progress(context, [film(1)])
    progress.still()
    context.should_stop = True
    with pytest.raises(JobCancelledError):
        progress.still()
    assert len(context.reports) == 2


def test_times_are_as_exact_as_a_forecast_can_be() -> None:
    assert [in_words(s) for s in (0, 31, 100, 3000, 5400, 9000)] == [
        "0 s", "40 s", "2 min", "50 min", "1.5 h", "2.5 h",
    ]  # fmt: skip
