import json
from pathlib import Path

import numpy as np
import pytest
import typer

from flows import ingest_recipe
from flows.commands.shots import calibrate, shots, timecode
from infra.errors import InputError
from infra.recipes import fingerprint
from infra.settings import Settings
from ingest.recipe import IngestRecipe
from tests.unit.ingest.footage import join, shot, three_shots, write


@pytest.fixture(autouse=True)
def environment(own_home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command sets the process's environment; here it is put back afterwards."""
    for name, value in own_home.process_env().items():
        monkeypatch.setenv(name, value)


def test_json_names_the_first_frame_of_each_new_shot(
    own_home: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cuts = three_shots(tmp_path / "cuts.mp4")
    frames = join([shot(1, 60), shot(2, 60)], [("dissolve", 16)])
    dissolve = write(tmp_path / "-a dissolve.mkv", frames)
    shots([cuts, dissolve], as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert found[str(cuts)] == [30, 60]
    (first,) = found[str(dissolve)]
    assert abs(first - 60) <= 2
    assert not own_home.home.exists()


def test_table_has_timecodes_and_spans(
    own_home: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shots([three_shots(tmp_path / "cuts.mp4")])
    title, first, _ = capsys.readouterr().out.splitlines()
    assert title.endswith("cuts.mp4  90 frames, 3 shots")
    assert first.split() == ["0:00:01.250", "cut", "30"]
    assert timecode(3723.4567) == "1:02:03.457"


def test_bad_files_are_one_line_each_and_the_good_are_printed(
    own_home: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, empty, text = three_shots(tmp_path / "good.mp4"), tmp_path / "e.mp4", tmp_path / "t.mkv"
    empty.touch()
    text.write_text("not a film")
    (tmp_path / "folder.mp4").mkdir()
    bad = [tmp_path / "none.mp4", empty, text, tmp_path / "folder.mp4"]
    with pytest.raises(typer.Exit) as caught:
        shots([*bad, good], as_json=True)
    assert caught.value.exit_code == 1
    said = capsys.readouterr()
    assert json.loads(said.out) == {str(good): [30, 60]}
    lines = said.err.splitlines()
    assert len(lines) == len(bad)
    for line, path in zip(lines, bad, strict=True):
        assert line.startswith(f"reel: {path}: ")


def test_calibrated_recipe_is_what_refresh_reads(
    own_home: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A faint square that jumps is too little for the default thresholds."""
    labels = {}
    for number in range(3):
        frames = np.full((60, 96, 128, 3), 110 + 5 * number, np.uint8)
        frames[: 30 + number, 20:70, 8:58] += 24
        frames[30 + number :, 20:70, 70:120] += 24
        write(tmp_path / f"{number}.mp4", frames)
        labels[f"{number}.mp4"] = [30 + number]
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    calibrate(tmp_path / "labels.json")
    said = capsys.readouterr().out
    path = ingest_recipe.path_of(own_home)
    assert "3 films, 3 boundaries" in said
    assert f"wrote {path}" in said
    recipe = ingest_recipe.load(own_home)
    assert fingerprint(recipe) != fingerprint(IngestRecipe())
    shots([tmp_path / "1.mp4"], as_json=True)
    assert json.loads(capsys.readouterr().out) == {str(tmp_path / "1.mp4"): [31]}


def test_no_gain_writes_nothing(
    own_home: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(2):
        three_shots(tmp_path / f"{number}.mp4", seed=number + 1)
    (tmp_path / "l.csv").write_text("0.mp4,30\n0.mp4,60\n1.mp4,30\n1.mp4,60\n")
    calibrate(tmp_path / "l.csv", tmp_path / "out.json")
    assert "nothing was gained" in capsys.readouterr().out
    assert not (tmp_path / "out.json").exists()
    assert ingest_recipe.load(own_home) == IngestRecipe()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is no IngestRecipe"),
        ("[]", "one JSON object"),
        ('{"shots": {"cut_ration": 2}}', "no field 'cut_ration'"),
        ('{"shots": {"cut_ratio": "2"}}', "cut_ratio is '2'; it has to be of type float"),
        ('{"shots": {"cascade": 1}}', "cascade is 1; it has to be of type bool"),
    ],
)
def test_wrong_recipe_file_is_refused_by_name(own_home: Settings, text: str, words: str) -> None:
    path = ingest_recipe.path_of(own_home)
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(InputError, match=words) as caught:
        ingest_recipe.load(own_home)
    assert str(path) in str(caught.value)
