"""A lesson's deliverables, each read back by a reader that is not ours."""

import csv
import html
import json
import zipfile
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import av
import numpy as np
import pytest
import webvtt
from film_takes import made

from serving.workflows.captions import split_words
from serving.workflows.lesson.cards import Cards
from serving.workflows.lesson.delivery import _findings
from serving.workflows.lesson.plan import LessonPlan, lesson_shots
from serving.workflows.lesson.timing import (
    caption_cues,
    count_words,
    film_parts,
)
from serving.workflows.plan import PlanError, read_plan

EVIL = "</script><b>x</b> & --> {}"
PLAN: dict[str, Any] = {
    "title": f"Water {EVIL}",
    "size": "400x224",
    "fps": 4,
    "words_per_minute": 300,
    "sources": [{"title": "=1+1", "url": "https://example.org/?a=1&b=2"}],
    "segments": [
        {
            "id": "sea", "title": "Sea & <sky>", "prompt": "sea", "seconds": 1, "fit": "loop",
            "narration": f"Heat makes vapour. {EVIL} rises until it falls.", "on_screen": "Vapour",
            "quiz": {"question": EVIL, "choices": ["cold", "heat"], "answer": 2},
        },
        {
            "id": "rome", "title": "Rome", "prompt": "an aqueduct", "seconds": 1, "history": True,
            "narration": "Rome led the rain of its hills into fountains, two thousand years ago.",
        },
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def draft(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("draft")
    return folder / "files-1", made("lesson", PLAN, folder, size=(400, 224))


@pytest.fixture(scope="module")
def final(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("final")
    made("lesson", PLAN, folder, size=(400, 224), approved_by="Ada <b>")
    return folder / "files-1"


def read_plan_parts() -> tuple[LessonPlan, list[Any]]:
    plan = read_plan(LessonPlan, PLAN)
    return plan, film_parts(plan, 1)


def frames(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])


def test_the_film_is_as_long_as_its_narration_takes_to_read(final: Path) -> None:
    plan, parts = read_plan_parts()
    shown = frames(final / "lesson.mp4")
    assert len(shown) == parts[-1].end and shown.shape[1:3] == (224, 400)
    for part in parts:
        if part.kind == "segment":
            words = count_words(plan.segments[part.index].narration)
            assert part.num_frames == pytest.approx((words / 5 + 1) * 4, abs=1)


def test_history_is_labelled_and_drafts_say_so(draft: Any, final: Path) -> None:
    _, parts = read_plan_parts()
    sea, rome = (part.start + 1 for part in parts if part.kind == "segment")
    draft_film, final_film = frames(draft[0] / "lesson.draft.mp4"), frames(final / "lesson.mp4")

    def share(frame: np.ndarray, color: tuple[int, int, int], side: slice) -> float:
        near = np.abs(frame[:50, side].astype(int) - color).max(axis=-1) < 40
        return float(near.mean())

    amber, red = (255, 196, 0), (150, 24, 24)
    left, right = slice(0, 200), slice(200, 400)
    assert share(final_film[rome], amber, left) > 0.03 > share(final_film[sea], amber, left)
    assert share(draft_film[rome], red, right) > 0.03 > share(final_film[rome], red, right)


def test_nothing_is_published_before_a_review(draft: Any, final: Path) -> None:
    folder, manifest = draft
    assert not list(folder.glob("*.zip")) and not (folder / "lesson.mp4").exists()
    assert manifest["metrics"]["reviewed"] is False and manifest["approved_by"] is None
    review = json.loads((final / "review.json").read_text())
    assert review["reviewer"] == "Ada <b>" and set(review["approved"]) == {"sea", "rome"}


def test_captions_and_chapters_are_valid_and_in_step_with_the_film(final: Path) -> None:
    plan, parts = read_plan_parts()
    captions = webvtt.WebVTT.from_string((final / "captions.en.vtt").read_text(), strict=True)
    said = " ".join(html.unescape(cue.text).replace("\n", " ") for cue in captions)
    assert said == " ".join(segment.narration for segment in plan.segments)
    assert not any("<" in cue.raw_text or "-->" in cue.raw_text for cue in captions)
    assert all(len(html.unescape(line)) <= 46 for cue in captions for line in cue.lines)
    assert [cue.start_in_seconds for cue in captions] == [
        int(cue.start_s) for cue in caption_cues(plan, parts)
    ]
    chapters = webvtt.WebVTT.from_string((final / "chapters.en.vtt").read_text(), strict=True)
    assert [cue.identifier for cue in chapters] == ["sea", "rome"]
    assert html.unescape(chapters[0].text) == "Sea & <sky>"


class _Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def test_texts_escape_what_the_plan_says(final: Path) -> None:
    page = _Elements()
    page.feed((final / "transcript.html").read_text())
    assert EVIL in page.text and "script" not in page.tags and "b" not in page.tags
    assert ("href", "https://example.org/?a=1&b=2") in page.attributes
    assert "AI reconstruction" in page.text and "Reviewed by Ada <b>" in page.text
    assert EVIL in (final / "transcript.txt").read_text()
    with (final / "sources.csv").open(newline="") as file:
        assert next(iter(csv.DictReader(file)))["title"] == "'=1+1"
    (question,) = json.loads((final / "quiz.json").read_text())["questions"]
    assert (question["question"], question["answer"]) == (EVIL, 2)


def test_the_scorm_package_names_its_files_and_holds_no_foreign_address(final: Path) -> None:
    with zipfile.ZipFile(final / "lesson.scorm12.zip") as package:
        assert package.testzip() is None
        root = ET.fromstring(package.read("imsmanifest.xml"))
        page_source = package.read("index.html").decode()
        names = set(package.namelist())
        assert package.read("lesson.mp4") == (final / "lesson.mp4").read_bytes()
        script = package.read("player.js").decode()
    ims = "{http://www.imsproject.org/xsd/imscp_rootv1p1p2}"
    adl = "{http://www.adlnet.org/xsd/adlcp_rootv1p2}"
    (resource,) = root.iter(f"{ims}resource")
    assert resource.get(f"{adl}scormtype") == "sco" and resource.get("href") == "index.html"
    assert {f.get("href") for f in root.iter(f"{ims}file")} == names - {"imsmanifest.xml"}
    assert root.findtext(f".//{ims}schemaversion") == "1.2"
    assert root.findtext(f".//{ims}organization/{ims}title") == PLAN["title"]
    page = _Elements()
    page.feed(page_source)
    assert page.tags.count("script") == 2 and "b" not in page.tags
    links = [value for name, value in page.attributes if name in ("src", "href", "poster")]
    assert [link for link in links if link and "://" in link] == ["https://example.org/?a=1&b=2"]
    assert set(links) - {"https://example.org/?a=1&b=2"} <= names and "://" not in script
    data = page_source.partition('id="lesson">')[2].partition("</script>")[0]
    assert json.loads(data)["questions"][0]["question"] == EVIL


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"language": "../en"}, "language"),
        ({"sources": [{"title": "a", "url": "javascript:alert(1)"}]}, "sources[0].url"),
        ({"words_per_minute": 0}, "words_per_minute"),
        ({"segments": []}, "segments"),
        ({"labels": {"chapters": ""}}, "labels.chapters"),
        ({"segments": [PLAN["segments"][0] | {"narration": " \n"}]}, "segments[0].narration"),
        ({"segments": [PLAN["segments"][0] | {"narration": "a\x01b"}]}, "segments[0].narration"),
        (
            {"segments": [PLAN["segments"][1] | {"quiz": {
                "question": "q", "choices": ["a", "b"], "answer": 3}}]},
            "segments[0].quiz",
        ),
    ],
)  # fmt: skip
def test_a_wrong_plan_is_refused_by_the_fields_path(change: dict[str, Any], field: str) -> None:
    with pytest.raises(PlanError) as caught:
        read_plan(LessonPlan, PLAN | change)
    assert caught.value.field == field


def test_no_caption_is_gone_before_it_is_found() -> None:
    segment = PLAN["segments"][1] | {"narration": "It rains."}
    plan = read_plan(LessonPlan, PLAN | {"segments": [segment]})
    parts = film_parts(plan, 1)
    (cue,) = caption_cues(plan, parts)
    assert cue.end_s - cue.start_s == pytest.approx(1.2) and cue.end_s <= parts[2].end / plan.fps


def test_words_in_the_picture_leave_its_foot_to_captions() -> None:
    said = {"on_screen": "a rather long line that says when and where " * 3}
    plan = read_plan(LessonPlan, PLAN | {"segments": [PLAN["segments"][1] | said]})
    patches = Cards.of(plan, {}).labels(plan.segments[0], 0, draft=True)
    history, draft, words = (patch.box for patch in patches)
    assert words[1] >= max(history[3], draft[3]) and words[3] <= 0.6 * 224


def test_sources_are_set_alike_and_spread_over_their_pages() -> None:
    titles = ["A", "B " * 90, *"CDE"]
    plan = read_plan(LessonPlan, PLAN | {"sources": [{"title": title} for title in titles]})
    cards = Cards.of(plan, {})
    pages = [cards._sources(page)._blocks[1:] for page in range(cards.source_pages)]
    assert [len(page) for page in pages] == [3, 2]
    assert len({block.size for block, _ in pages[0]}) == 1


def test_labels_in_another_language_are_noted(draft: Any) -> None:
    assert not any("English" in note for note in draft[1]["notes"])
    plan = read_plan(LessonPlan, PLAN | {"language": "ar", "labels": {"score": "x"}})
    (note,) = (n for n in _findings(plan, film_parts(plan, 1), draft=False).notes if "English" in n)
    assert "'ar'" in note and "right" in note and "score" not in note


def test_a_lesson_that_nobody_would_wait_for_is_refused() -> None:
    segment = PLAN["segments"][1]
    segments = [segment | {"id": f"s{n}", "narration": "word " * 1500} for n in range(60)]
    with pytest.raises(PlanError, match="gigapixels") as caught:
        lesson_shots(read_plan(LessonPlan, {"title": "t", "segments": segments}))
    assert caught.value.field == "segments"


def test_long_narrations_become_cues_of_two_lines() -> None:
    pieces = split_words("a" * 300 + " One. " + "word " * 60)
    assert "".join(pieces).replace(" ", "") == "a" * 300 + "One." + "word" * 60
    assert max(map(len, pieces)) <= 84
    assert count_words("水は空へ昇る") == 3
