import pytest

from flows.demo.captions import matches, parse_caption, parse_words
from flows.demo.scene import Attributes, all_attributes

EXAMPLE = Attributes(shape="circle", color="red", size="small", direction="left", background="dark")


def test_every_caption_parses_back() -> None:
    for attributes in all_attributes():
        assert parse_caption(attributes.caption()) == attributes


def test_wording_case_and_repeats_do_not_matter() -> None:
    text = "On a dark background: a RED circle, small, going left. It is red."
    assert parse_caption(text) == EXAMPLE


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a small red moving left on a dark background",
        "a small red blue circle moving left on a dark background",
        "a small reddish circle moving left on a dark background",
    ],
)
def test_missing_or_contradicted_attributes_are_not_guessed(text: str) -> None:
    assert parse_caption(text) is None


def test_partial_captions_still_say_what_they_say() -> None:
    assert parse_words("a red bar or circle moving up") == {"color": "red", "direction": "up"}


def test_matches_names_each_attribute() -> None:
    found = Attributes(
        shape="circle", color="blue", size="small", direction="none", background="dark"
    )
    assert matches(found, EXAMPLE) == {
        "shape": True,
        "color": False,
        "size": True,
        "direction": False,
        "background": True,
    }
    assert not any(matches(None, EXAMPLE).values())
