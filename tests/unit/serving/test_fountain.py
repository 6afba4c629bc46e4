"""Scripts in Fountain, read as shots."""

import pytest

from serving.workflows.fountain import Line, parse
from serving.workflows.plan import PlanError, read_plan
from serving.workflows.storyboard import StoryboardPlan, beat_seconds, script_shots, storyboard

SCRIPT = """Title: The _Harbour_
Credit: written by
Author: N. N.

FADE IN:

EXT. HARBOUR - NIGHT #1A#

Fog. A *lamp* swings. /* the crane
is cut */

MARA (30s) walks along the pier.
She stops. [[6 s]]

MARA (V.O.)
(quietly)
It's late.
  
And cold.

@McAvoy
Aye.

> CUT TO:

# Act two
= They argue.

.FLASHBACK

!INT. IS NOT A HEADING HERE

INT. BOAT - DAY
The engine coughs.

===
"""


def test_a_script_is_read_as_scenes_of_beats() -> None:
    harbour, flashback, boat = parse(SCRIPT)
    assert (harbour.heading, harbour.number) == ("EXT. HARBOUR - NIGHT", "1A")
    assert [beat.action for beat in harbour.beats] == [
        "Fog. A lamp swings.",
        "MARA (30s) walks along the pier. She stops.",
    ]
    assert harbour.beats[1].seconds == 6
    assert harbour.beats[1].lines == [Line("MARA", "It's late. And cold."), Line("McAvoy", "Aye.")]
    assert (flashback.heading, flashback.beats[0].action) == (
        "FLASHBACK",
        "INT. IS NOT A HEADING HERE",
    )
    assert (boat.heading, boat.beats[0].action) == ("INT. BOAT - DAY", "The engine coughs.")


@pytest.mark.parametrize(
    "text",
    ["", "\n\n", "Title: only", "INT. ROOM", "/* a */", "[[a]]", ">", "\ufeff", "# a", "==="],
)
def test_a_script_without_a_shot_is_refused_by_name(text: str) -> None:
    with pytest.raises(PlanError) as caught:
        script_shots(text, "cut")
    assert caught.value.field == "script"


def test_a_script_becomes_shots_as_long_as_they_take() -> None:
    shots = script_shots(SCRIPT, "scene")
    assert [shot.id for shot in shots] == ["s010", "s020", "s030", "s040"]
    assert shots[0].prompt == "EXT. HARBOUR - NIGHT. Fog. A lamp swings."
    assert shots[1].dialogue == "MARA: It's late. And cold.\nMcAvoy: Aye."
    assert [shot.continuity for shot in shots] == ["cut", "previous", "cut", "cut"]
    assert [shot.seconds for shot in shots] == [2.0, 6.0, 2.0, 2.0]
    (long,) = parse(f"INT. A\n\nHe waits.\n\nBO\n{'word ' * 20}\n")
    assert beat_seconds(long.beats[0]) == 8.0


def test_a_paragraph_more_keeps_the_seeds_of_the_others() -> None:
    def seeds(script: str) -> dict[str, int | None]:
        plan = read_plan(StoryboardPlan, {"title": "a", "script": script})
        return {shot.prompt: shot.seed for shot in storyboard.shots(plan)}

    before, after = seeds("One.\n\nTwo."), seeds("Zero.\n\nOne.\n\nTwo.")
    assert {prompt: after[prompt] for prompt in before} == before
    assert len(set(after.values())) == 3


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"shots": []}, "shots"),
        ({"script": "One."}, "shots"),
        ({"script": 5}, "script"),
        ({"fps": 23}, "fps"),
        ({"slate_s": -1}, "slate_s"),
        ({"shots": [{"id": "../a", "prompt": "x"}]}, "shots[0].id"),
        ({"shots": [{"id": "a", "prompt": " "}]}, "shots[0].prompt"),
        ({"shots": [{"id": "a", "prompt": "x", "seconds": 0}]}, "shots[0].seconds"),
        ({"shots": [{"id": "a", "prompt": "x", "takes": 99}]}, "shots[0].takes"),
        ({"shots": [{"id": "a", "prompt": "x", "scene": "a\nb"}]}, "shots[0].scene"),
        ({"shots": [{"id": "a", "prompt": "x", "continuity": "previous"}]}, "shots[0].continuity"),
        ({"shots": [{"id": "a", "prompt": "x", "characters": ["bo"]}]}, "shots[0].characters"),
        ({"shots": [{"id": "a", "prompt": "x", "reference": "bo"}]}, "shots[0].reference"),
        ({"characters": [{"id": "a", "reference": "bo"}]}, "characters[0].reference"),
    ],
)
def test_a_wrong_storyboard_names_the_field(change: dict[str, object], field: str) -> None:
    values = {"title": "a", "shots": [{"id": "a", "prompt": "x"}]} | change
    with pytest.raises(PlanError) as caught:
        storyboard.shots(read_plan(StoryboardPlan, values))
    assert caught.value.field == field


def test_people_and_camera_are_part_of_the_words() -> None:
    plan = read_plan(
        StoryboardPlan,
        {
            "title": "a",
            "assets": {"mara": "data:"},
            "characters": [{"id": "mara", "words": "a woman in yellow", "reference": "mara"}],
            "shots": [
                {"id": "a", "prompt": "Mara waits.", "framing": "wide", "camera": "dolly in",
                 "characters": ["mara"]},
                {"id": "b", "prompt": "she turns", "characters": ["mara"],
                 "continuity": "previous"},
            ],
        },
    )  # fmt: skip
    first, second = storyboard.shots(plan)
    assert first.prompt == "wide. Mara waits. a woman in yellow. dolly in"
    assert (first.asset, first.parent) == ("mara", None)
    assert (second.asset, second.parent) == (None, "a")


@pytest.mark.parametrize(
    "text",
    ["/*", "[[", "*", "**a", "_a ", "(", "((a", "9", "[[9", "@ ", "#a ", "A (", ">", " ", "\n \n"],
)
def test_a_hostile_script_is_read_as_fast_as_a_long_one(text: str) -> None:
    """Patterns that go back over what they read would take hours for these."""
    parse("INT. A\n\n" + text * (200_000 // len(text)))
