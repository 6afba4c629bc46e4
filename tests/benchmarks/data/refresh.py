"""What a refresh costs that finds nothing to do."""

import time
from pathlib import Path

import pytest

from infra.job_files import JobContext
from ingest.job import main
from ingest.sources import find_films
from tests.benchmarks.data.films import small_films
from tests.benchmarks.figure import Figure

FILMS = 1000


def refresh_noop_s(folder: Path, films: int = FILMS) -> Figure:
    """Seconds of a second refresh of unchanged footage, beyond listing the files."""
    footage = small_films(folder / "footage", films)
    spec = {"uri": str(footage), "recipe": {}, "parallel": "inline"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REEL_HOME", str(folder / "home"))
        first = main(JobContext(spec, folder / "job-1"))
        begun = time.perf_counter()
        find_films(str(footage))
        listing_s = time.perf_counter() - begun
        begun = time.perf_counter()
        again = main(JobContext(spec, folder / "job-2"))
        whole_s = time.perf_counter() - begun
    assert again["funnel"] == first["funnel"] and again["new_clips"] == 0
    return {
        "value": round(whole_s - listing_s, 3),
        "target": 2.0,
        "better": "lower",
        "n": films,
        "note": f"listing {listing_s:.2f} s; the first refresh took {first['wall_s']:.0f} s",
    }
