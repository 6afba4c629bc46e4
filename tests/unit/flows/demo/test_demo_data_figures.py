from pathlib import Path

import pytest

from flows.demo.data_figures import (
    Truth,
    caption_figure,
    duplicates_figure,
    quarantine_figure,
    shot_figures,
)
from flows.demo.scene import Attributes

RED = Attributes(shape="circle", color="red", size="small", direction="left", background="dark")
BLUE = Attributes(shape="bar", color="blue", size="large", direction="up", background="light")
FILM = "für Anna/Reel 1 - 日の出 (final).mkv"
COPY = "copy of it.webm"


@pytest.fixture
def truth(tmp_path: Path) -> Truth:
    shots = [(0, 40, RED), (40, 80, BLUE)]
    film = {
        "path": FILM,
        "shots": [{"start": s, "end": e, "attributes": vars(a)} for s, e, a in shots],
        "boundaries": [{"kind": "cut", "start": 40, "end": 40}],
    }
    other = film | {"path": "other.mp4"}
    world = {
        "films": [film, other],
        "duplicates": [{"path": COPY, "of": FILM, "kind": "reencoded"}],
        "broken": [
            {"path": "a/empty.mp4", "kind": "empty"},
            {"path": "cut.mp4", "kind": "truncated"},
        ],
    }
    return Truth(world, tmp_path)


def source(folder: Path, path: str, status: str = "accepted", cut: int = 40) -> dict:
    boundaries = f'[{{"kind": "cut", "start": {cut}, "end": {cut}}}]'
    return {
        "uri": (folder / path).as_uri(),
        "source_id": f"id of {path}",
        "status": status,
        "boundaries_json": boundaries if status == "accepted" else None,
    }


def clip(number: int, path: str, start: int, end: int, caption: str, by: str = "coca") -> dict:
    return {
        "clip_id": f"clip {number}",
        "source_id": f"id of {path}",
        "start_frame": start,
        "end_frame": end,
        "caption": caption,
        "caption_source": by,
    }


def test_uris_with_spaces_and_accents_are_the_truths_paths(truth, tmp_path):
    assert truth.path((tmp_path / FILM).as_uri()) == FILM


def test_a_film_is_judged_by_its_accepted_copy(truth, tmp_path):
    """Which of two copies is kept is up to ingest; the film was found all the same."""
    sources = [
        source(tmp_path, FILM, "duplicate"),
        source(tmp_path, COPY),
        source(tmp_path, "other.mp4", cut=60),
    ]
    figure = shot_figures(sources, truth)["shot_f1_cut"]
    assert (figure.value, figure.n) == (0.5, 2)


def test_a_film_that_was_not_accepted_counts_as_missed(truth, tmp_path):
    figure = shot_figures([source(tmp_path, FILM)], truth)["shot_f1_cut"]
    assert figure.value == pytest.approx(2 / 3) and "1 missed" in figure.note


def quarantined(folder: Path, path: str, reason: str) -> dict:
    return {"uri": (folder / path).as_uri(), "reason": reason}


def test_quarantine_needs_a_true_reason(truth, tmp_path):
    empty = quarantined(tmp_path, "a/empty.mp4", "the file is empty")
    cut = quarantined(
        tmp_path, "cut.mp4", "no moov atom: the file is cut off or was never finished"
    )
    assert quarantine_figure([empty, cut], truth).value == 1
    wrong = cut | {"reason": "not a video container"}
    assert quarantine_figure([empty, wrong], truth).value == 0.5
    assert quarantine_figure([empty], truth).value == 0.5


def test_a_good_film_in_quarantine_counts_against_it(truth, tmp_path):
    rows = [
        quarantined(tmp_path, "a/empty.mp4", "the file is empty"),
        quarantined(tmp_path, "cut.mp4", "the file is cut off"),
        quarantined(tmp_path, FILM, "the file is empty"),
    ]
    assert quarantine_figure(rows, truth).value == pytest.approx(2 / 3)


def test_duplicates_count_when_both_files_gave_clips(truth, tmp_path):
    clips = [clip(1, FILM, 0, 40, "a"), clip(2, COPY, 0, 40, "a")]
    both = [source(tmp_path, FILM), source(tmp_path, COPY)]
    assert duplicates_figure(clips, both, truth).value == 1
    assert duplicates_figure(clips[:1], both, truth).value == 0


def test_captions_are_judged_where_none_was_given(truth, tmp_path):
    wrong_size = RED.caption().replace("small", "large")
    clips = [
        clip(1, FILM, 0, 40, "nonsense", by="sidecar"),
        clip(2, COPY, 2, 38, wrong_size),
        clip(3, FILM, 0, 1000, "shows no single shot"),
    ]
    shows = truth.of_clips(clips, [source(tmp_path, FILM), source(tmp_path, COPY)])
    assert shows["clip 2"] == RED and "clip 3" not in shows
    figure = caption_figure(clips, shows)
    assert (figure.value, figure.n) == (0.8, 5)
    assert "1 clips show no single shot" in figure.note
