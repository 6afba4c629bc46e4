"""The studio in a real browser: what it shows, what the keyboard does, what it may reach."""

import base64
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from infra.catalog import Catalog
from infra.video import each_frame, write_mp4
from serving.access import create_key
from tests.browser import Page, chromium
from tests.contracts.server import Server, serving
from tests.unit.serving.calls import picture_frames

EVIL = '<img src=x onerror="document.title=1"><script>document.title=1</script>'
DONE = "document.querySelectorAll('article .play').length"
FORM = "document.querySelector('#compose').elements"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("studio"), 0.05) as server:
        yield server


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def studio(browser: Page, server: Server) -> Iterator[Page]:
    """The studio's page, freshly loaded; its scripts must not have failed at the end."""
    browser.errors.clear()
    browser.requests.clear()
    browser.open(server.url)
    browser.wait("document.querySelector('#modes input') && document.title")
    yield browser
    # The kinds of workflows are asked for one by one; the browser logs those that are not there.
    assert [text for text in browser.errors if "/v1/workflows?kind=" not in text] == []
    inside = (server.url, "blob:", "data:")
    assert [url for url in browser.requests if not url.startswith(inside)] == []


def make(page: Page, prompt: str) -> None:
    """Fill the form in and send it, from the keyboard alone."""
    page.run(f"{FORM}.prompt.focus(), {FORM}.prompt.select()")
    page.write(prompt)
    page.press("Enter", modifiers=2)


def test_a_video_is_made_watched_and_followed_to_its_parent(studio: Page, server: Server) -> None:
    make(studio, f"a red ball {EVIL}")
    studio.wait(f"{DONE} === 1")
    shown = studio.run("document.querySelector('article').innerText")
    assert EVIL in shown and "seed" in shown and "version 3" in shown
    assert studio.run("document.title") == "Reelwright studio"

    studio.run("document.querySelector('article .row button').click()")  # Extend
    assert studio.run(f"{FORM}.mode.value") == "extend"
    studio.run("document.querySelector('.part.add').click()")
    order = studio.run("[...document.querySelectorAll('.part')].map(p => p.className)")
    assert order == ["part new", "part given", "part add"]
    make(studio, "it rolls on")
    studio.wait(f"{DONE} === 2")
    parent = "document.querySelector('article a.chip')"
    assert "extends a red ball" in studio.run(f"{parent}.innerText")
    studio.run(f"{parent}.click()")
    assert studio.run("document.activeElement === document.querySelectorAll('article')[1]")

    studio.run("document.querySelector('article .play').click()")
    studio.wait("document.querySelector('article video')?.readyState >= 2")
    assert studio.run("document.querySelector('article video').videoWidth") == 96


def test_progress_and_previews_are_shown_until_it_is_cancelled(
    studio: Page, server: Server
) -> None:
    studio.run(f"{FORM}.steps.value = 200")  # 10 s
    make(studio, "a long one")
    shown = "document.querySelector('article .wait').innerText"
    studio.wait("document.querySelector('article progress')?.value > 1")
    assert "sampling" in studio.run(shown)
    preview = "document.querySelector('article .sketch')"
    studio.wait(f"{preview}?.naturalWidth > 0")
    assert studio.run(f"{preview}.alt") == "Preview, not the result"
    studio.open(server.url)  # who comes late sees what there is
    studio.wait(f"{preview}?.naturalWidth > 0")
    studio.run("document.querySelector('article .row button').click()")
    assert "cancelled" in studio.wait("document.querySelector('article .broken')?.innerText")
    assert not studio.run(preview)


def test_the_first_tabs_lead_to_the_form(studio: Page) -> None:
    seen = []
    for _ in range(16):  # views and kinds of work come first
        studio.press("Tab")
        seen.append(studio.run("document.activeElement.name || document.activeElement.id"))
        if seen[-1] == "prompt":
            break
    assert seen[-1] == "prompt" and {"model", "key", "mode"} <= set(seen)
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert studio.run(outline) == "solid"


def test_a_picture_and_a_clip_are_taken(studio: Page, tmp_path: Path) -> None:
    Image.new("RGB", (64, 48), (200, 30, 30)).save(tmp_path / "a.png")
    studio.choose_file("#inputs input", tmp_path / "a.png")
    studio.wait("document.querySelector('.drop img')?.naturalWidth === 64")
    before = studio.run(DONE)
    make(studio, "from a picture")
    studio.wait(f"{DONE} === {before + 1}")

    write_mp4(picture_frames(16), 8, tmp_path / "b.mp4")
    studio.choose_file("#inputs input", tmp_path / "b.mp4")
    studio.wait(f"{FORM}.mode.value === 'extend'")  # what one does with a clip
    studio.wait("document.querySelector('.part.given').innerText === 'given 2 s'")
    make(studio, "on from a clip")
    studio.wait(f"{DONE} === {before + 2}")
    assert "4 s" in studio.run("document.querySelector('article .chips').innerText")


WORK = "document.querySelector('#work form')"


def fill(page: Page, **fields: str) -> None:
    for name, text in fields.items():
        page.run(f"{WORK}.querySelector('[name=\"{name}\"]').value = {text!r}")


def plan_of(page: Page) -> Any:
    """The form's plan, as its JSON says it."""
    page.run(f"{WORK}.querySelector('details').open = true")
    text = page.wait(f"{WORK}.querySelector('.code').value")
    return json.loads(text)


def test_a_storyboard_begins_with_the_picture_that_was_chosen_and_shows_previews(
    studio: Page, server: Server, tmp_path: Path
) -> None:
    Image.new("RGB", (64, 48), (30, 30, 200)).save(tmp_path / "pier.png")
    studio.open(f"{server.url}/#storyboard")
    studio.wait(f"{WORK}?.ariaLabel === 'Storyboard'")
    fill(studio, title="Harbour", prompt="Mara on the pier")
    studio.choose_file("#work [data-group=shots] [type=file]", tmp_path / "pier.png")
    studio.wait("document.querySelector('#work .drop img')?.naturalWidth === 64")
    plan = plan_of(studio)
    assert plan["shots"][0]["reference"] == "picture1"
    picture = base64.b64decode(plan["assets"]["picture1"].partition(",")[2])
    assert picture == (tmp_path / "pier.png").read_bytes()
    code = f"{WORK}.querySelector('.code')"
    studio.run(f"{code}.value = {json.dumps(plan | {'steps': 60, 'size': '48x32'})!r}")  # 3 s
    studio.run(f"{WORK}.requestSubmit()")
    studio.wait("document.querySelector('#work article .sketch')?.naturalWidth > 0")
    studio.wait("document.querySelector('#work article .chip')?.innerText === 'completed'")
    assert not studio.run("document.querySelector('#work article .sketch')")
    with urllib.request.urlopen(f"{server.url}/v1/workflows?kind=storyboard") as reply:
        (work,) = json.load(reply)["data"]
    file = server.home / "media" / work["id"] / "takes" / "s010-1.mp4"
    first = next(each_frame(file)).astype(int)
    assert abs(first.mean(axis=(0, 1)) - (30, 30, 200)).max() < 8


@pytest.mark.parametrize(
    ("kind", "field", "fields"),
    [
        ("lesson", "asset", {"title": "Water", "prompt": "the sea", "narration": "It is wet."}),
        ("campaign", "brand.logo", {"title": "Spring", "prompt": "a runner", "headline": "Run"}),
    ],
)
def test_the_other_plans_take_pictures_too(
    studio: Page, server: Server, tmp_path: Path, kind: str, field: str, fields: dict[str, str]
) -> None:
    picture, large = tmp_path / "a.png", tmp_path / "large.png"
    Image.new("RGB", (64, 48), (30, 30, 200)).save(picture)
    large.write_bytes(picture.read_bytes() + b"0" * 9_000_000)
    studio.open(f"{server.url}/#{kind}")
    studio.wait(f"{WORK}?.ariaLabel.toLowerCase() === {kind!r}")
    fill(studio, **fields)
    if kind == "lesson":
        studio.run(f"{WORK}.querySelector('.item [name=title]').value = 'Sea'")
    else:
        for group, name in (("audiences", "all"), ("locales", "en")):
            item = f"{WORK}.querySelector('[data-group={group}] [name=id]')"
            studio.run(f"{item}.value = {name!r}")
    studio.choose_file("#work [type=file]", large)
    assert "larger than 9 MB" in studio.wait("!problem.hidden && problem.innerText")
    studio.choose_file("#work [type=file]", picture)
    studio.wait("document.querySelector('#work .drop img')?.naturalWidth === 64")
    assert studio.run("problem.hidden")
    studio.run(
        f"[...{WORK}.querySelectorAll('button')].find(b => b.innerText === 'Estimate').click()"
    )
    assert "to generate" in studio.wait(f"{WORK}.querySelector('output').innerText")
    plan = plan_of(studio)
    place = plan["segments"][0] if kind == "lesson" else plan["brand"]
    assert place[field.rpartition(".")[2]] == "picture1" and len(plan["assets"]) == 1
    studio.run("document.querySelector('#work .drop button').click()")
    assert studio.run("document.querySelector('#work [type=hidden]').value") == ""


def test_what_the_server_refuses_is_said_and_its_field_is_focused(studio: Page) -> None:
    studio.run(f"{FORM}.seconds.removeAttribute('max'), {FORM}.seconds.value = 90")
    make(studio, "too long")
    said = studio.wait("!document.querySelector('#problem').hidden && problem.innerText")
    assert said == "Seconds must be less than or equal to 60; got 90."
    assert studio.run("document.activeElement.name") == "seconds"
    studio.errors[:] = [text for text in studio.errors if "status of 400" not in text]


def test_it_says_what_the_model_was_trained_on(studio: Page) -> None:
    studio.run("document.querySelector('#model').click()")
    text = studio.wait("document.querySelector('#about-text').innerText")
    assert "not recorded on this server" in text and "signed C2PA provenance" in text
    studio.press("Escape")
    assert not studio.run("document.querySelector('#about').open")


@pytest.mark.parametrize(("width", "phone"), [(390, True), (1280, False)])
def test_nothing_is_wider_than_the_screen(
    browser: Page, server: Server, width: int, phone: bool
) -> None:
    browser.open(server.url, width, 844, phone=phone)
    browser.wait("document.querySelector('#modes input')")
    assert browser.run("document.documentElement.scrollWidth") <= width
    small = (
        "[...document.querySelectorAll('#compose button, header button, nav a')]"
        ".filter(b => b.offsetHeight && b.offsetHeight < 32).length"
    )
    assert browser.run(small) == 0


def test_scripts_of_others_do_not_run(studio: Page) -> None:
    studio.run(
        "document.body.append(Object.assign(document.createElement('script'),"
        " {textContent: 'document.title = 1'})),"
        " document.body.insertAdjacentHTML('beforeend', '<b onclick=\"document.title = 1\"></b>'),"
        " document.body.lastChild.click()"
    )
    assert studio.run("fetch('http://127.0.0.1:1/').then(() => 1, () => 0)") == 0
    assert studio.run("document.title") == "Reelwright studio"
    refused = [text for text in studio.errors if "Content Security Policy" in text]
    assert len(refused) >= 3
    studio.errors.clear()
    studio.requests[:] = [url for url in studio.requests if "127.0.0.1:1/" not in url]


def test_with_a_key_it_works_where_keys_are_asked_for(browser: Page, tmp_path: Path) -> None:
    with serving(tmp_path / "home", 0.0, REEL_API_KEYS="required") as server:
        catalog = Catalog(f"sqlite:///{server.home / 'catalog.db'}")
        key = create_key(catalog, name="n", tenant="film")
        catalog.close()
        browser.open(server.url)
        browser.wait("document.querySelector('#keys').open")
        browser.run("document.querySelector('#key-form').elements.key.focus()")
        browser.write(key)
        browser.press("Enter")
        browser.wait("document.querySelector('#modes input')")
        make(browser, "mine")
        browser.wait(f"{DONE} === 1")
        poster = "document.querySelector('.screen img')"
        browser.wait(f"{poster}?.naturalWidth > 0")
        assert browser.run(f"{poster}.src").startswith("blob:")
        assert browser.run("localStorage.length") == 0
        browser.run("sessionStorage.clear()")
