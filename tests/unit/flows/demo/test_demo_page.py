import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flows.demo import page
from flows.demo.figures import Figure
from flows.demo.showcase import showcase
from flows.demo.showreel import Example, Take
from infra.video import write_mp4


def take(folder: Path, name: str, prompt: str = "a ball", **more) -> Take:
    path = folder / f"{name}.mp4"
    ramp = np.linspace(0, 255, 8 * 48 * 64 * 3, dtype=np.uint8).reshape(8, 48, 64, 3)
    write_mp4(ramp, 8, path)
    example = Example(prompt=prompt, frames=ramp, shape_of=(4, 3))
    return Take(
        name=name, kind="from words", prompt=prompt, says="Words.", path=path, example=example,
        **more,
    )  # fmt: skip


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "p.png"
    Image.new("RGB", (3000, 200), "red").save(path)
    return path


def made(folder: Path, picture: Path, *takes: Take) -> str:
    content = page.Page(
        title="A model",
        lead="Lead.",
        takes=takes,
        sheets=[("Sheet", "Pictures.", picture)],
        charts=[("vae", picture)],
        figures={"total_s": Figure(value=1300, n=1, note="a < b")},
        times=[("train", 60.0, False), ("vae", 20.0, True)],
        trained_on=["118 films."],
        footer=["today"],
    )
    return page.html(content, folder)


def test_nothing_comes_from_elsewhere(tmp_path, picture):
    text = made(tmp_path, picture, take(tmp_path, "a"))
    sources = re.findall(r'(?:src|href)="([^"]{0,60})', text)
    assert sources and all(source.startswith("data:") for source in sources)
    assert "MISSED" in text


def test_a_prompt_is_text_and_not_markup(tmp_path, picture):
    text = made(tmp_path, picture, take(tmp_path, "a", prompt='<img src="x"> & "more"'))
    assert "<q>&lt;img src=&quot;x&quot;&gt; &amp; &quot;more&quot;</q>" in text
    assert "a &lt; b" in text


def test_a_large_video_stays_a_file_beside_the_page(tmp_path, picture, monkeypatch):
    (tmp_path / "outputs").mkdir()
    monkeypatch.setattr(page, "INLINE_BYTES", 10)
    assert '<video src="outputs/a.mp4"' in made(tmp_path, picture, take(tmp_path / "outputs", "a"))


def test_the_given_part_is_marked_where_it_was(tmp_path, picture):
    text = made(tmp_path, picture, take(tmp_path, "a", given=(0.5, 1.0)))
    assert (
        '<i class="" style="flex:0.500"></i><i class="given" style="flex:0.500"></i></div>' in text
    )


def test_pictures_are_scaled_down(picture):
    assert len(page.picture_uri(picture)) < 20_000


def test_showcase_puts_real_beside_generated(tmp_path):
    sheet = showcase([take(tmp_path, "text-1"), take(tmp_path, "text-2")])
    assert sheet.width > 2 * 600 and sheet.height > 2 * 128
