import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra.lake import Lake
from ingest.duplicates import HEADER
from ingest.film import NOTHING, FilmResult
from ingest.found import Found
from ingest.ledger import Ledger
from ingest.recipe import DuplicateRecipe

FILMS = 5  # each in copies of several sizes


def results() -> list[FilmResult]:
    """Copies of a few films as if they had been read; those of one film look almost the same."""
    found = []
    for number in range(FILMS):
        grids = np.random.default_rng(number).integers(0, 240, (2, 12, 16, 3))
        for copy in range(6):
            picture = HEADER.pack(2.0, 1) + (grids + copy).astype(np.uint8).tobytes()
            source: dict[str, Any] = {
                **NOTHING, "uri": f"file:///{number}-{copy}.mp4", "source_id": f"{copy}{number}",
                "size_bytes": 100 * (copy % 4), "mtime_ns": 1, "etag": None, "status": "accepted",
                "width": 64 * (1 + copy % 3), "height": 48, "hash_video": picture, "recipe": "r",
            }  # fmt: skip
            found.append(FilmResult(source=source))
    return found


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    found = Lake(str(tmp_path / "lake"))
    found.ensure()
    return found


def books(lake: Lake) -> Ledger:
    return Ledger(lake, "r", DuplicateRecipe())


def verdicts(ledger: Ledger) -> dict[str, tuple[str, str | None]]:
    return {uri: (row["status"], row["duplicate_of"]) for uri, row in ledger.rows.items()}


def test_copies_are_settled_the_same_in_any_order_and_in_any_number_of_runs(lake: Lake) -> None:
    ledger = books(lake)
    for result in results():
        ledger.add(result)
    wanted = verdicts(ledger)
    assert sum(status == "accepted" for status, _ in wanted.values()) == FILMS
    assert wanted["file:///1-5.mp4"] == ("duplicate", "21")  # as wide, and larger in bytes
    for seed in range(6):
        rng, ledger = random.Random(seed), books(lake)
        mixed = rng.sample(results(), FILMS * 6)
        cut = rng.randrange(len(mixed))
        for result in mixed[:cut]:
            ledger.add(result)
        ledger.flush()
        ledger = books(lake)
        for result in mixed[cut:]:
            ledger.add(result)
        assert verdicts(ledger) == wanted
        lake.delete("sources", "true")


def test_when_the_best_copy_was_replaced_the_next_best_is_kept(lake: Lake) -> None:
    ledger = books(lake)
    for result in results():
        ledger.add(result)
    other = np.random.default_rng(99).integers(0, 240, (2, 12, 16, 3)).astype(np.uint8)
    best = next(r for r in results() if r.source["uri"] == "file:///1-2.mp4").source
    new = {**best, "source_id": "new", "hash_video": HEADER.pack(2.0, 1) + other.tobytes()}
    ledger.add(FilmResult(source=new))
    touched = Found(uri="file:///1-0.mp4", size_bytes=0, mtime_ns=2)
    assert ledger.adopt([touched], "01")
    kept = {uri for uri, (status, _) in verdicts(ledger).items() if status == "accepted"}
    assert {"file:///1-2.mp4", "file:///1-5.mp4"} <= kept
    assert len(kept) == FILMS + 1


def test_a_copy_in_a_settled_group_costs_no_look_at_the_others(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = books(lake)
    for result in results()[:5]:
        ledger.add(result)
    looked = list[str]()
    rows_of = Ledger._rows_of
    monkeypatch.setattr(
        Ledger, "_rows_of", lambda self, one: looked.append(one) or rows_of(self, one)
    )
    ledger.add(results()[5])
    assert set(looked) == {"50"}


def test_copies_of_one_content_are_looked_at_once_and_not_once_for_each_other(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    films = [
        Found(uri=(tmp_path / f"{number:04d}.mp4").as_uri(), size_bytes=1, mtime_ns=number)
        for number in range(300)
    ]
    for film in films[:150]:
        Path(film.uri.removeprefix("file://")).touch()
    ledger, looked = books(lake), list[str]()
    monkeypatch.setattr("ingest.ledger.is_there", lambda uri: looked.append(uri) or False)
    first = results()[0]
    ledger.add(FilmResult(source={**first.source, **films[0].facts()}))
    assert ledger.adopt(films[1:], "00")
    assert looked == [films[0].uri]  # it was not listed: it moved
    assert ledger.adopt(films[:1], "00")
    assert len(looked) == 1 + 299
    ledger.flush()
    assert len(ledger.rows) == 1 and lake.count("sources") == 1
    assert (
        lake.read("sources", ["hash_video"])["hash_video"][0].as_py() == first.source["hash_video"]
    )


def test_signatures_are_not_held_in_memory_and_come_back_with_every_row(lake: Lake) -> None:
    ledger = books(lake)
    for result in results():
        ledger.add(result)
    ledger.flush()
    assert not any("hash_video" in row for row in ledger.rows.values())
    ledger = books(lake)
    touched = Found(uri="file:///1-0.mp4", size_bytes=7, mtime_ns=2)
    assert ledger.adopt([touched], "01")
    ledger.flush()
    stored = lake.read("sources", ["uri", "hash_video", "size_bytes"]).to_pylist()
    wanted = {result.source["uri"]: result.source["hash_video"] for result in results()}
    for row in stored:
        assert row["hash_video"] == wanted[row["uri"]]
