"""Loops, flipbooks, skyboxes, plates and cutscenes, opened by other readers."""

import itertools
import json
import re
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import webvtt
from PIL import Image

from serving.workflows import cutscene, flipbook, skybox
from serving.workflows.game import GamePlan, game
from serving.workflows.loops import COLUMN_FLOOR, POOR, SHOWS, cross_blend, seam_ratio, seamless
from serving.workflows.plan import PlanError, read_plan
from tests.unit.serving.film_takes import film, made

EVIL = "a --> b\n\n00:00.000 --> 00:09.000\n<script>alert(1)</script> & more"
SHOTS = [
    {"id": "gate", "prompt": "a gate", "seconds": 1, "dialogue": [
        {"speaker": "GUARD <b>", "text": "Who goes there?"}, {"text": EVIL}],
     "choices": [{"text": "Fight & win", "to": "duel"}, {"text": "Run", "to": "run"}]},
    {"id": "duel", "prompt": "a duel", "seconds": 1, "continuity": "previous", "end": True},
    {"id": "run", "prompt": "a lane", "seconds": 1},
]  # fmt: skip
PLAN: dict[str, Any] = {
    "title": "Torchlight",
    "fps": 16,
    "items": [
        {"type": "loop", "id": "water", "prompt": "water", "seconds": 2},
        {"type": "flipbook", "id": "torch", "prompt": "a torch", "rows": 4, "columns": 4,
         "tile": 16, "padding": 2, "alpha": "luma"},
        {"type": "plate", "id": "cliff", "prompt": "a cliff"},
        {"type": "plate", "id": "mist", "prompt": "mist", "seconds": 1},
        {"type": "skybox", "id": "dusk", "prompt": "dusk", "height": 64},
        {"type": "cutscene", "id": "intro", "shots": SHOTS},
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("game")
    return made("game", PLAN, folder, loops=False) | {"folder": folder / "files-1"}


def test_a_seam_is_measured_against_ordinary_steps() -> None:
    closed, open_ = film(1, 24, 64, 48, loops=True), film(1, 24, 64, 48)
    assert seam_ratio(closed) < POOR < 3 < seam_ratio(open_)
    assert seam_ratio(closed[:2]) == 0 and seam_ratio(np.zeros((9, 4, 4, 3), np.uint8)) == 0
    assert (seamless(closed)[0] == closed).all() and not seamless(closed)[1].is_repaired
    frames, seam = seamless(open_)
    assert seam.before > 3 and seam.after < seam.before / 2
    assert seam.removed == 24 - len(frames) > 0
    assert (frames[seam.removed :] == open_[seam.removed : len(frames)]).all()  # not blended


def test_a_cross_blend_goes_on_from_what_was_cut_off() -> None:
    values = np.arange(100, dtype=np.uint8)
    blended = cross_blend(values, 20)
    assert len(blended) == 80 and (blended[20:] == values[20:80]).all()
    assert abs(int(blended[0]) - 80) <= 5  # nearly what followed the last one
    assert np.diff(blended.astype(int)).min() >= -4  # the jump of 99 in 21 steps


def test_a_poor_loop_is_mended_and_it_is_said(manifest: dict[str, Any]) -> None:
    found = manifest["metrics"]["water"]
    assert found["repaired"] and found["seam_ratio"] < found["seam_ratio_before_repair"]
    with av.open(str(manifest["folder"] / "loops/water/water.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == found["frames"] == 32 - found["removed"]
    assert seam_ratio(np.stack(frames)) <= found["seam_ratio"] + 0.5
    assert any(
        re.match(r"water: the seam was .* cross-blended", note) for note in manifest["notes"]
    )


def test_a_loop_that_closes_is_delivered_as_it_was_made(tmp_path: Path) -> None:
    manifest = made("game", PLAN | {"items": PLAN["items"][:1]}, tmp_path / "loop")
    assert manifest["metrics"]["water"]["repaired"] is False and manifest["notes"] == []
    delivered = tmp_path / "loop/files-1/loops/water/water.mp4"
    assert delivered.read_bytes() == (tmp_path / "loop/takes/water-1.mp4").read_bytes()


def test_a_flipbook_is_a_sheet_that_engines_cut_alike(manifest: dict[str, Any]) -> None:
    folder = manifest["folder"] / "flipbooks/torch"
    about = json.loads((folder / "torch.json").read_text())
    unity = json.loads((folder / "torch.unity.json").read_text())
    unreal = json.loads((folder / "torch.paper2dsprites").read_text())
    godot = (folder / "torch.tres").read_text()
    with Image.open(folder / "torch.png") as sheet:
        assert sheet.mode == "RGBA" and sheet.size == (4 * 20, 4 * 20)
        pixels = np.asarray(sheet)
    boxes = [(frame["x"], frame["y"]) for frame in about["frames"]]
    assert boxes[:5] == [(2, 2), (22, 2), (42, 2), (62, 2), (2, 22)] and len(boxes) == 16
    sprites = unity["TextureImporter"]["spriteSheet"]["sprites"]
    from_below = [(s["rect"]["x"], 80 - s["rect"]["y"] - 16) for s in sprites]
    frames = [(f["frame"]["x"], f["frame"]["y"]) for f in unreal["frames"].values()]
    regions = [tuple(map(int, r)) for r in re.findall(r"Rect2\((\d+), (\d+), 16, 16\)", godot)]
    assert boxes == from_below == frames == regions
    assert sorted(unreal["frames"]) == list(unreal["frames"])
    assert godot.count("SubResource(") == 16 and f'"speed": {about["fps"]:g}' in godot
    assert (pixels[1, 2:18] == pixels[2, 2:18]).all()  # the gutter repeats the edge
    assert "powers of two" in " ".join(manifest["notes"])


def test_tiles_are_spread_over_time_and_light_is_cut_out() -> None:
    assert flipbook.spread(24, 4, loops=True) == [0, 6, 12, 18]
    assert flipbook.spread(24, 4, loops=False) == [0, 8, 15, 23]
    flame = np.zeros((2, 2, 3), np.uint8)
    flame[0, 0] = (200, 100, 0)
    cut_out = flipbook.with_alpha(flame)
    assert cut_out[0, 0].tolist() == [255, 128, 0, 200] and (cut_out[1] == 0).all()


def test_a_skys_sides_meet_and_its_faces_join(manifest: dict[str, Any]) -> None:
    folder = manifest["folder"] / "skyboxes/dusk"
    with Image.open(folder / "equirectangular.png") as picture:
        sky = np.asarray(picture).astype(int)
    assert sky.shape == (64, 128, 3)
    found = manifest["metrics"]["dusk"]
    assert found["repaired"] and found["seam_ratio"] < SHOWS < found["seam_ratio_before_repair"]
    assert seam_ratio(sky, 1, COLUMN_FLOOR) < POOR
    assert np.ptp(sky[0], axis=0).max() <= 1 and np.ptp(sky[-1], axis=0).max() <= 1
    for name in skybox.FACES:
        with Image.open(folder / f"{name}.png") as face:
            assert face.size == (32, 32)


def test_the_faces_of_a_sky_join() -> None:
    rows, columns = np.mgrid[0:64, 0:128]
    height = np.sin(np.pi * (rows + 0.5) / 64)  # of no colour at the poles
    around = 2 * np.pi * columns / 128
    waves = [np.sin(around) * height, np.cos(around) * height, np.cos(np.pi * rows / 64)]
    sky = np.rint(127 + 127 * np.stack(waves, -1)).astype(np.uint8)
    faces = {name: skybox.cube_face(sky, name, 32).astype(int) for name in skybox.FACES}
    for one, two in itertools.pairwise(["front", "right", "back", "left", "front"]):
        assert abs(faces[one][:, -1] - faces[two][:, 0]).max() < 12
    for pole, row in (("up", -1), ("down", 0)):
        ahead = faces["front"][0 if pole == "up" else -1]
        assert abs(ahead - faces[pole][row]).max() < 12
        behind = faces["back"][0 if pole == "up" else -1]
        assert abs(behind - faces[pole][-1 - row][::-1]).max() < 12
        right = faces["right"][0 if pole == "up" else -1]
        side = faces[pole][:, -1][::-1] if pole == "up" else faces[pole][:, -1]
        assert abs(right - side).max() < 12


def test_a_face_looks_where_it_says() -> None:
    sky = np.zeros((64, 128, 3), np.uint8)
    sky[:, 56:72, 0] = 255  # ahead
    sky[:, 88:104, 1] = 255  # to the right
    sky[:8, :, 2] = 255  # overhead
    middle = {name: skybox.cube_face(sky, name, 16)[8, 8].tolist() for name in skybox.FACES}
    assert middle["front"] == [255, 0, 0] and middle["right"] == [0, 255, 0]
    assert middle["back"] == middle["left"] == [0, 0, 0] and middle["up"][2] == 255


def test_a_cutscene_branches_and_its_subtitles_are_only_text(manifest: dict[str, Any]) -> None:
    folder = manifest["folder"] / "cutscenes/intro"
    graph = json.loads((folder / "cutscene.json").read_text())
    assert graph["start"] == "gate"
    gate, duel, run = (graph["shots"][name] for name in ("gate", "duel", "run"))
    assert [choice["to"] for choice in gate["choices"]] == ["duel", "run"]
    assert (gate["end"], duel["end"], run["end"], gate["seconds"]) == (False, True, True, 1.0)
    captions = list(webvtt.read(folder / "gate.vtt"))
    assert len(captions) == 2
    assert captions[0].text == "Who goes there?" and captions[0].voice == "GUARD &lt;b&gt;"
    raw = (folder / "gate.vtt").read_text()
    assert raw.count("-->") == 2 and "<script" not in raw and "&amp; more" in raw
    assert captions[0].end_in_seconds <= captions[1].start_in_seconds <= 1
    assert list(webvtt.read(folder / "run.vtt")) == []
    for name in ("gate", "duel", "run"):
        assert (folder / graph["shots"][name]["video"]).is_file()


def test_cues_are_in_the_order_of_their_times() -> None:
    said = [cutscene.Spoken(text="second", at=3.0), cutscene.Spoken(text="first", at=1.0)]
    assert [words for _, _, words in cutscene.cues(said, 5.0)] == ["first", "second"]


def test_lines_of_dialogue_keep_their_order_and_stay_within_the_shot() -> None:
    said = [
        cutscene.Spoken(text="x" * 170),
        cutscene.Spoken(text="late", at=3.0),
        cutscene.Spoken(text="y" * 170),
    ]
    found = cutscene.cues(said, 4.0)
    assert [start for start, _, _ in found] == sorted(start for start, _, _ in found)
    (late,) = (cue for cue in found if "late" in cue[2])
    assert late[0] == 3.0 and found[found.index(late) - 1][1] <= 3.0 and found[-1][1] <= 4.05
    assert all(len(line) <= 46 for _, _, words in found for line in words.split("\n"))


@pytest.mark.parametrize(
    ("items", "field"),
    [
        ([], "items"),
        ([{"type": "song", "id": "a", "prompt": "x"}], "items[0]"),
        ([{"type": "flipbook", "id": "a", "prompt": "x", "rows": 0}], "items[0].rows"),
        ([{"type": "loop", "id": "a"}], "items[0].prompt"),
        ([{"type": "loop", "id": "a", "prompt": "x", "sconds": 1}], "items[0].sconds"),
        ([{"type": "flipbook", "id": "a", "prompt": "x", "rows": 32, "columns": 32}],
         "items[0].rows"),
        ([{"type": "flipbook", "id": "a", "prompt": "x", "columns": 32, "tile": 512, "padding": 1}],
         "items[0].tile"),
        ([{"type": "plate", "id": "a", "prompt": "x"}] * 2, "items[1].id"),
        ([{"type": "cutscene", "id": "a", "shots": [
            {"id": "b", "prompt": "x", "next": "c"}]}], "items[0].shots[0]"),
        ([{"type": "cutscene", "id": "a", "shots": [
            {"id": "b", "prompt": "x", "next": "b"}]}], "items[0].shots"),
        ([{"type": "cutscene", "id": "a", "shots": [
            {"id": "b", "prompt": "x", "end": True}, {"id": "c", "prompt": "x"}]}],
         "items[0].shots"),
        ([{"type": "cutscene", "id": "a", "shots": [
            {"id": "b", "prompt": "x", "continuity": "previous"}]}],
         "items[0].shots[0].continuity"),
        ([{"type": "cutscene", "id": "a", "shots": [
            {"id": "b", "prompt": "x", "next": "b", "end": True}]}], "items[0].shots[0]"),
    ],
)  # fmt: skip
def test_a_wrong_game_names_the_field(items: list[dict[str, Any]], field: str) -> None:
    values = {"title": "a", "items": items, "size": "2048x2048", "fps": 12}
    with pytest.raises(PlanError) as caught:
        game.shots(read_plan(GamePlan, values))
    assert caught.value.field == field
