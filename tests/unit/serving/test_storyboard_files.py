"""Each of a storyboard's files, opened by another program's reader."""

import csv
import hashlib
import json
import re
import xml.etree.ElementTree as ET
import zipfile
from pathlib import Path
from typing import Any

import av
import opentimelineio as otio
import pytest
from PIL import Image

from serving.workflows import animatic
from serving.workflows.cut import Panel
from serving.workflows.deliverable import Take, Takes
from serving.workflows.lettering import Faces
from serving.workflows.plan import PlanError, read_plan
from serving.workflows.storyboard import StoryboardPlan, storyboard
from serving.workflows.timeline import reel_names
from tests.unit.serving.film_takes import made

EVIL = (
    "</b><script>alert(1)</script><a href='http://x'>x</a> & "
    "\n\nM2   AX 00:00:00:00\n* FROM CLIP: /etc/passwd"
)
PLAN: dict[str, Any] = {
    "title": 'Harbour & "night" <b>',
    "style": "ink wash",
    "slate_s": 0.0625,
    "shots": [
        {"id": "s010", "prompt": "Mara on the pier", "seconds": 1, "takes": 2,
         "dialogue": "FROM CLIP: /etc/passwd"},
        {"id": "s020", "prompt": "she turns", "seconds": 1.5, "dialogue": EVIL,
         "continuity": "previous"},
        {"id": "a_long_name_of_a_shot", "prompt": '=HYPERLINK("http://x","y")', "seconds": 1,
         "plate": True, "scene": "@SUM(1)"},
    ],
}  # fmt: skip
FRAMES = [24, 36, 24]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("storyboard")
    made("storyboard", PLAN, folder, size=(64, 36), choices={"s010": 2})
    return folder


@pytest.fixture(scope="module")
def files(home: Path) -> Path:
    return home / "files-1"


def frames_of(path: Path) -> list[Any]:
    with av.open(str(path)) as container:
        assert container.streams.video[0].average_rate == 24
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_the_cut_is_the_takes_and_the_animatic_adds_slates_and_words(files: Path) -> None:
    cut, animatic = frames_of(files / "cut.mp4"), frames_of(files / "animatic.mp4")
    assert len(cut) == sum(FRAMES) and cut[0].shape == (36, 64, 3)
    assert len(animatic) == sum(FRAMES) + 4 + 3 * 2
    height, width = animatic[0].shape[:2]
    scale = width // 64
    assert width >= 480 and height > 36 * scale
    first = animatic[4 + 2].astype(int)
    assert abs(first[18 * scale, 60 * scale] - cut[0][18, 60].astype(int)).max() < 12  # enlarged
    strips = [frame[36 * scale :].astype(int) for frame in animatic[6:8]]
    changed = abs(strips[0] - strips[1]).max(axis=(0, 2))
    assert changed[width // 2 :].max() > 100 > 60 > changed[: width // 2].max()  # the timecode


def test_the_timeline_reads_back_with_every_take(home: Path, files: Path) -> None:
    (path,) = files.glob("*.otio")
    assert path.name == "harbour-night-b.otio"
    cut = otio.adapters.read_from_file(str(path))
    clips = list(cut.find_clips())
    assert cut.name == PLAN["title"]
    assert [clip.name for clip in clips] == [shot["id"] for shot in PLAN["shots"]]
    assert [clip.duration().value for clip in clips] == FRAMES
    assert clips[0].active_media_reference_key == "take-2"
    assert sorted(clips[0].media_references()) == ["take-1", "take-2"]
    for clip in clips:
        for reference in clip.media_references().values():
            assert (home / reference.target_url).is_file()
            facts = reference.metadata["reelwright"]
            assert facts["seed"] and facts["model_version"] == "3" and facts["prompt"]
    assert clips[1].media_reference.metadata["reelwright"]["parent"] == "s010/1"


def test_the_edit_list_holds_the_same_cut_and_no_line_of_a_users(files: Path) -> None:
    (path,) = files.glob("*.edl")
    text = path.read_text()
    cut = otio.adapters.read_from_file(str(path), rate=24)
    assert [clip.duration().value for clip in cut.find_clips()] == FRAMES
    events = [line for line in text.splitlines() if re.match(r"\d{3} ", line)]
    assert [line.split()[1] for line in events] == ["S010", "S020", "R0000003"]
    assert events[2].split()[-2:] == ["00:00:02:12", "00:00:03:12"]
    assert all(line[:1] in ("", "0", "*", "T") for line in text.splitlines())
    assert "\n* FROM CLIP: /etc/passwd" not in text
    media = [clip.media_reference.target_url for clip in cut.find_clips()]
    assert media[0] == "takes/s010-2.mp4" and all(name.startswith("takes/") for name in media)


def test_final_cut_xml_reads_back(files: Path) -> None:
    (path,) = files.glob("*.fcpxml")
    root = ET.parse(path).getroot()
    names = [asset.get("name") for asset in root.iter("asset")]
    assert names == [shot["id"] for shot in PLAN["shots"]]
    (form,) = root.iter("format")
    assert (form.get("width"), form.get("height")) == ("64", "36")
    project = root.find("project")
    assert project is not None and project.get("name") == PLAN["title"]
    cut = otio.adapters.read_from_file(str(path))
    durations = [clip.duration().to_seconds() for clip in cut.find_clips()][-3:]
    assert durations == [1, 1.5, 1]


def test_the_table_tells_all_and_no_cell_is_a_formula(files: Path) -> None:
    with (files / "shots.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["shot"] for row in rows] == [shot["id"] for shot in PLAN["shots"]]
    assert [row["in"] for row in rows] == ["00:00:00:00", "00:00:01:00", "00:00:02:12"]
    assert (rows[0]["take"], rows[0]["file"]) == ("2", "takes/s010-2.mp4")
    assert rows[1]["dialogue"] == EVIL
    assert not [cell for row in rows for cell in row.values() if cell[:1] in tuple("=+-@")]


def test_the_sheets_show_every_shot(files: Path) -> None:
    with Image.open(files / "contact_sheet.png") as sheet:
        assert sheet.width == 2 * 32 + 3 * 360 + 2 * 24
        panel = sheet.crop((40, 80, 380, 320)).resize((4, 3))
        assert len(panel.convert("RGB").getcolors() or []) > 6
    data = (files / "contact_sheet.pdf").read_bytes()
    assert data.startswith(b"%PDF-") and data.rstrip().endswith(b"%%EOF")
    assert len(re.findall(rb"/Type\s*/Page\b", data)) == 1
    assert len(re.findall(rb"/Subtype\s*/Image\b", data)) == 3
    assert b"/URI" not in data and b"/JavaScript" not in data


def test_plates_are_numbered_pictures(files: Path) -> None:
    (folder,) = (files / "plates").iterdir()
    pictures = sorted(path.name for path in folder.iterdir())
    assert pictures[0] == "a_long_name_of_a_shot.0001.png" and len(pictures) == FRAMES[2]


def test_the_bundle_holds_all_of_it_with_every_take(home: Path, files: Path) -> None:
    with zipfile.ZipFile(home / "bundle-1.zip") as bundle:
        assert bundle.testzip() is None
        names = set(bundle.namelist())
        manifest = json.loads(bundle.read("manifest.json"))
    inside = {path.relative_to(files).as_posix() for path in files.rglob("*") if path.is_file()}
    assert names == inside | {take["name"] for take in manifest["takes"]}
    told = {entry["name"]: entry["sha256"] for entry in manifest["files"] + manifest["takes"]}
    assert set(told) == names - {"manifest.json"}
    for name in inside - {"manifest.json"}:
        assert hashlib.sha256((files / name).read_bytes()).hexdigest() == told[name]
    for take in manifest["takes"]:
        digest = hashlib.sha256((home / take["name"]).read_bytes()).hexdigest()
        assert take["sha256"] == digest and take["seed"] and take["model_version"] == "3"
    assert [t["number"] for t in manifest["takes"] if t["chosen"]] == [2, 1, 1]


def test_words_that_cannot_be_set_are_refused_and_prompts_are_set_in_part(tmp_path: Path) -> None:
    def refused(**change: Any) -> str:
        values: dict[str, Any] = {"title": "t", "shots": [{"id": "a", "prompt": "p"}]} | change
        plan = read_plan(StoryboardPlan, values)
        with pytest.raises(PlanError, match="no glyph") as caught:
            storyboard.check(plan, Takes(takes={}, choices={}))
        return caught.value.field

    assert refused(title="港") == "title"
    assert refused(shots=[{"id": "a", "prompt": "p", "dialogue": "港"}]) == "shots[0].dialogue"
    assert refused(shots=[], script="INT. 港\n\nA lamp.\n") == "script"
    shots = [{"id": "a", "prompt": "港 a pier", "seconds": 1}]
    manifest = made("storyboard", {"title": "t", "slate_s": 0, "shots": shots}, tmp_path / "cut")
    assert manifest["notes"][0].startswith("a: slates and sheets leave out 1 characters")


def test_what_runs_from_right_to_left_is_set_by_us_in_the_pdf(tmp_path: Path) -> None:
    shots = [{"id": "a", "prompt": "p", "seconds": 1, "dialogue": "مرحبا بك"}]
    made("storyboard", {"title": "שלום", "slate_s": 0, "shots": shots}, tmp_path / "cut")
    data = (tmp_path / "cut/files-1/contact_sheet.pdf").read_bytes()
    # The frame, the dialogue and the title; what has transparency would be two.
    assert len(re.findall(rb"/Subtype\s*/Image\b", data)) == 3


def test_a_long_dialogue_is_shown_page_after_page(tmp_path: Path) -> None:
    said = {"dialogue": " ".join(f"word{number}" for number in range(60))}
    take = Take(shot="a", number=1, prompt="p", seed=1, path=tmp_path, name="a", sha256="",
                job_id="", model_version="3")  # fmt: skip
    look = animatic._Look(480, 270, Faces.of(None))

    def strips(seconds: int) -> list[bytes]:
        panel = Panel(take=take, start=0, num_frames=24 * seconds, width=480, height=270,
                      notes=said, words="p")  # fmt: skip
        return [strip.tobytes() for strip in look.strips(panel, 24)]

    assert (len(strips(1)), len(strips(3)), len(set(strips(3)))) == (1, 3, 3)
    assert len(strips(60)) < 10 and strips(60)[0] == strips(3)[0] != strips(1)[0]


def test_reels_are_short_and_different() -> None:
    assert reel_names(["s010", "S-010", "a_very_long_name"]) == ["S010", "R0000002", "R0000003"]
