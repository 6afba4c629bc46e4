"""A campaign's adverts, manifest and report, read back by readers that are not ours."""

import csv
import hashlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from film_takes import made
from PIL import Image

from serving.workflows.campaign.brand import SAFE_AREAS, contrast, lowest_contrast, rgb
from serving.workflows.campaign.delivery import CAMPAIGN
from serving.workflows.campaign.plan import CampaignPlan, campaign_shots
from serving.workflows.deliverable import Takes
from serving.workflows.plan import PlanError, read_plan

PLAN: dict[str, Any] = {
    "title": "Spring <b>",
    "prompt": "a runner",
    "fps": 4,
    "short_side": 180,
    "audiences": [{"id": "trail", "scene": "a forest"}],
    "locales": [
        {"id": "en", "headline": "=Run <i>free</i>", "cta": "Shop"},
        {"id": "ar", "headline": "اركض بحرية أينما وجدك الصباح", "cta": "تسوق"},
    ],
    "aspects": ["16:9", "9:16"],
    "durations": [2, 3],
    "master": "16:9",
    "end_card_s": 0.5,
    "brand": {"color": "#7A1030", "legal": "Terms apply.", "logo": "logo"},
    "assets": {"logo": "data:"},
}


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("campaign")
    (folder / "assets").mkdir()
    Image.new("RGBA", (40, 20), (255, 196, 0, 255)).save(folder / "assets/logo.png")
    return folder / "files-1", made("campaign", PLAN, folder)


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def frames(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])


def test_the_matrix_is_made_of_one_generation_for_each_audience(campaign: Any) -> None:
    folder, manifest = campaign
    assert [take["shot"] for take in manifest["takes"]] == ["trail-16x9"]
    assert CAMPAIGN.counts(read_plan(CampaignPlan, PLAN)) == {"composites": 8}
    listed = rows(folder)
    assert len(listed) == 8 and len({row["id"] for row in listed}) == 8
    for row in listed:
        data = (folder / row["file"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == row["sha256"]
        shown = frames(folder / row["file"])
        assert len(shown) == int(row["seconds"]) * 4
        height, width = shown.shape[1:3]
        assert (width, height) == {"16:9": (320, 180), "9:16": (180, 320)}[row["aspect"]]
        with Image.open(folder / row["thumbnail"]) as picture:
            assert picture.size == (width, height)
        assert row["model_version"] == "3" and row["seed"] == str(manifest["takes"][0]["seed"])


def test_words_stay_inside_the_safe_area_and_can_be_read(campaign: Any) -> None:
    folder, manifest = campaign
    bare = frames(folder.parent / manifest["takes"][0]["name"])
    for row in rows(folder):
        assert row["safe_area"] == "inside" and float(row["contrast"]) >= 4.5
        assert row["passed"] == "yes"
    wide = frames(folder / "adverts/trail_en_16x9_2s.mp4")
    left, top, right, bottom = SAFE_AREAS["16:9"].box((320, 180))
    outside = np.ones(wide.shape[1:3], bool)
    outside[top - 2 : bottom + 2, left - 2 : right + 2] = False
    changed = np.abs(wide[1].astype(int) - bare[1]).max(axis=-1)
    assert np.percentile(changed[outside], 99) < 24 < np.percentile(changed[~outside], 75)


def test_an_advert_that_nobody_approved_of_says_so(tmp_path: Path) -> None:
    plan = PLAN | {"review": True, "brand": {}, "assets": {}, "locales": PLAN["locales"][:1],
                   "aspects": ["16:9"], "durations": [2]}  # fmt: skip
    share = []
    for name, reviewer in (("draft", ""), ("final", "N. N.")):
        made("campaign", plan, tmp_path / name, approved_by=reviewer)
        shown = frames(tmp_path / name / "files-1/adverts/trail_en_16x9_2s.mp4")[[1, -1], 80:100]
        share.append(
            (np.abs(shown.astype(int) - (150, 24, 24)).max(axis=-1) < 40).mean(axis=(1, 2))
        )
    assert share[0].min() > 0.2 > 0.02 > share[1].max()


def test_the_last_frames_are_the_brands_card(campaign: Any) -> None:
    shown = frames(campaign[0] / "adverts/trail_ar_9x16_2s.mp4")
    brand = np.array(rgb("#7A1030"))
    near = (np.abs(shown.astype(int) - brand).max(axis=-1) < 12).mean(axis=(1, 2))
    assert (near > 0.7).tolist() == [False] * 6 + [True] * 2


def test_the_manifest_holds_no_formula_and_the_report_no_markup(campaign: Any) -> None:
    folder, _ = campaign
    assert {row["headline"] for row in rows(folder)} == {
        "'=Run <i>free</i>", "اركض بحرية أينما وجدك الصباح"
    }  # fmt: skip
    tags: list[str] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: tags.append(tag)  # type: ignore[method-assign]
    parser.feed((folder / "report.html").read_text())
    assert tags.count("img") == 8 and "i" not in tags and "b" not in tags


@pytest.mark.parametrize(
    ("change", "field", "word"),
    [
        ({"brand": {"color": "#777777", "ink": "#888888"}}, "brand.ink", "4.5:1"),
        ({"brand": {"logo": "other"}}, "brand.logo", "other"),
        ({"brand": {"font": "other"}}, "brand.font", "other"),
        ({"brand": {"forbidden": ["shop"]}}, "locales[0].cta", "forbidden"),
        ({"aspects": ["1:1", "1:1"]}, "aspects", "twice"),
        ({"durations": [1]}, "durations", "end_card_s"),
        ({"durations": [2, 2.0000001]}, "locales", "two adverts"),
        (
            {
                "audiences": [{"id": "a_b"}, {"id": "a"}],
                "locales": [{"id": "c", "headline": "h"}, {"id": "B_c", "headline": "h"}],
            },
            "locales",
            "two adverts",
        ),
        ({"size": "64x64"}, "size", "aspects"),
        (
            {
                "durations": list(range(50, 56)),
                "short_side": 1080,
                "fps": 60,
                "audiences": [{"id": f"a{n}"} for n in range(9)],
            },
            "durations",
            "gigapixels",
        ),
        ({"short_side": 9}, "short_side", "120"),
    ],
)
def test_a_wrong_plan_is_refused(change: dict[str, Any], field: str, word: str) -> None:
    with pytest.raises(PlanError, match=word) as caught:
        campaign_shots(read_plan(CampaignPlan, PLAN | change))
    assert caught.value.field == field


@pytest.mark.parametrize(("headline", "word"), [("走れ", "U\\+8D70"), ("word " * 59, "shorten it")])
def test_words_that_cannot_be_set_are_refused_before_anything_is_made(
    headline: str, word: str
) -> None:
    values = PLAN | {"locales": [{"id": "x", "headline": headline.strip()}], "brand": {}}
    with pytest.raises(PlanError, match=word) as caught:
        CAMPAIGN.check(read_plan(CampaignPlan, values), Takes(takes={}, choices={}))
    assert caught.value.field == "locales[0].headline"


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21)
    assert contrast((255, 255, 255), rgb("#767676")) == pytest.approx(4.54, abs=0.01)
    behind = np.array([[[0, 0, 0], [118, 118, 118]]], np.uint8)
    assert lowest_contrast((255, 255, 255), behind) == pytest.approx(4.54, abs=0.01)
