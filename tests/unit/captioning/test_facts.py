import json

from captioning.facts import facts_caption


def told(**facts: object) -> str:
    return facts_caption(json.dumps(facts))


def test_all_facts_in_one_sentence() -> None:
    caption = told(light="dark", colors=["blue", "gray"], tempo="slow", camera="pan left")
    assert caption == "a dark scene in blue and gray, slow movement, camera panning left"


def test_three_colors_are_listed() -> None:
    assert told(colors=["red", "green", "blue"]) == "a scene in red, green and blue"


def test_facts_not_measured_are_left_out() -> None:
    assert told(light="bright", colors=[]) == "a bright scene"
    assert facts_caption(None) == "a scene"


def test_a_fact_without_a_phrase_is_said_as_it_is() -> None:
    assert told(camera="orbit") == "a scene, orbit"
