"""What the commands about the life of a film print; what they do is tested beside this."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from flows import client, lineage, takedown
from flows.cli import app
from flows.commands import common, life
from flows.takedown import Done
from infra.errors import InputError
from infra.lake import Lake
from infra.settings import Settings


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(life, "open_settings", lambda: None)


def reel(*words: str) -> str:
    done = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize(
    ("tried", "mended", "said"),
    [
        (5, 3, "3 of 5 files mended, 2 still in quarantine\n"),
        (0, 0, "nothing is in quarantine\n"),
    ],
)
def test_retry_says_how_many_were_mended(
    monkeypatch: pytest.MonkeyPatch, tried: int, mended: int, said: str
) -> None:
    asked = []

    def run(flow: str, parameters: dict[str, Any]) -> dict[str, Any]:
        asked.append((flow, parameters))
        return {"retried": tried, "mended": mended}

    monkeypatch.setattr(client, "run_and_follow", run)
    assert reel("retry") == said
    assert asked == [("refresh-data", {"retry": True})]


def test_lineage_is_text_for_people_and_json_for_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {
        "kind": "source",
        "sources": [
            {"uri": "file:///films/a%20b.mp4", "source_id": "0" * 64, "status": "duplicate",
             "duplicate_of": "1" * 64, "licence": "CC0", "tags": ["sea", "day"], "caption": None}
        ],
        "clips": 0,
        "releases": {},
        "model_versions": {},
        "withdrawn": [],
    }  # fmt: skip
    monkeypatch.setattr(lineage, "trace", lambda *_: found)
    assert reel("lineage", "00000000").splitlines() == [
        "source 0000000000000000  duplicate  /films/a b.mp4",
        "  licence   CC0",
        "  tags      sea, day",
        "  same as   source 1111111111111111",
        "  clips     0 in the lake",
        "  release   none holds it",
        "  models    none was trained on it",
    ]
    assert json.loads(reel("lineage", "00000000", "--json")) == found


def test_takedown_says_what_is_gone_and_what_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    done = Done(
        uris=["file:///films/a.mp4"],
        source_ids=["0" * 64],
        clips=3,
        releases={"r1": {"clips": 3, "seconds": 6.0}},
        model_versions={"4": {"release": "r1"}},
        champion="4",
        alone=False,
    )
    asked = []
    monkeypatch.setattr(takedown, "take_down", lambda *words: asked.append(words) or done)
    text = reel("takedown", "/films/a.mp4", "--reason", "asked by its maker")
    assert asked == [(None, "/films/a.mp4", "asked by its maker")]
    for words in (
        "withdrawn: /films/a.mp4",
        "release r1 held 3 of them (6 s)",
        "model version 4 was trained on release r1: marked takedown",
        "version 4 is the champion",
        "not removed: the files themselves",
        "a job was at work",
    ):
        assert words in text
    assert json.loads(reel("takedown", "/films/a.mp4", "--json"))["champion"] == "4"


def test_captions_shows_all_of_a_clip_the_used_one_first(
    own_home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake(own_home.lake_uri)
    lake.ensure()
    clip_id = "0123456789abcdef"
    used = {"caption_source": "endpoint", "caption_version": "eye@0f"}
    lake.upsert("clips", [{"clip_id": clip_id, **used}, {"clip_id": "01234567ffffffff", **used}])
    lake.upsert(
        "captions",
        [
            {"clip_id": clip_id, "source": source, "version": version, "caption": f"{source} says",
             "score": score}
            for source, version, score in (("facts", "1", 1.0), ("endpoint", "eye@0f", 0.9))
        ],
    )  # fmt: skip
    monkeypatch.setattr(common, "open_lake", lambda: lake)
    assert reel("captions", clip_id[:9]).splitlines() == [
        "caption   endpoint says (endpoint eye@0f, 0.90)",
        "besides   facts says (facts 1, 1.00)",
    ]
    assert json.loads(reel("captions", clip_id, "--json"))[0]["used"] is True
    for name, words in (
        ("01234567", "begins the ids of 2 clips"),
        ("0123", "too short"),
        ("ffffffff", "holds no clip"),
        ("%' or '1", "holds no clip"),
    ):
        with pytest.raises(InputError, match=words):
            reel("captions", name)
