"""Plans and the state of a workflow, without a server."""

from typing import Any

import pytest

from serving.workflows.lettering import Faces, csv_cell, file_name, timecode, wrapped
from serving.workflows.plan import Plan, PlanError, Shot, check_shots, read_plan, take_seed
from serving.workflows.state import State, choose, new_state, ready, rekeyed, retake, take_key

PLAN = Plan(title="Harbour", style="ink wash")
SHOTS = [
    Shot(id="a", prompt="a pier.", takes=2),
    Shot(id="b", prompt="a gull", parent="a"),
    Shot(id="c", prompt="fog"),
]


def finish(state: State, shot: str, number: int, status: str = "completed") -> None:
    take = state.shot(shot).take(number)
    assert take is not None
    take.status = status
    take.parent = {"b": f"a/{state.shot('a').chosen}"}.get(shot)
    state.shot(shot).settle()


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({}, "title"),
        ({"title": "a\nb"}, "title"),
        ({"title": "a\ufffeb"}, "title"),
        ({"title": "a", "shot": []}, "shot"),
        ({"title": "a", "fps": True}, "fps"),
        ({"title": "a", "fps": 1e9}, "fps"),
        ({"title": "a", "size": "big"}, "size"),
        ({"title": "a", "assets": {"../x": "data:"}}, "assets"),
        ({"title": "a", "assets": {"Nul": "data:"}}, "assets"),
        ({"title": "a", "seed": -1}, "seed"),
        ({"title": "a", "style": "\0"}, "style"),
    ],
)
def test_a_wrong_plan_names_the_field(values: dict[str, Any], field: str) -> None:
    with pytest.raises(PlanError) as caught:
        read_plan(Plan, values)
    assert caught.value.field.partition(".")[0] == field


@pytest.mark.parametrize(
    ("shots", "field"),
    [
        ([], "shots"),
        ([Shot(id="a", prompt="x"), Shot(id="a", prompt="y", field="items[1]")], "items[1].id"),
        ([Shot(id="a", prompt="x"), Shot(id="A", prompt="y", field="shots[1]")], "shots[1].id"),
        ([Shot(id="a", prompt="x", field="shots[0]", parent="b")], "shots[0].parent"),
        ([Shot(id="a", prompt="x", field="shots[0]", asset="mara")], "shots[0].asset"),
    ],
)
def test_shots_that_contradict_each_other_are_refused(shots: list[Shot], field: str) -> None:
    with pytest.raises(PlanError) as caught:
        check_shots(PLAN, shots)
    assert caught.value.field == field


def test_seeds_and_keys_follow_from_the_plan_alone() -> None:
    one, two = new_state(PLAN, SHOTS), new_state(PLAN, [*SHOTS[::-1]])
    seeds = {(shot.id, take.number): take.seed for shot, take in one.all_takes()}
    assert seeds == {(shot.id, take.number): take.seed for shot, take in two.all_takes()}
    assert len(set(seeds.values())) == 4
    assert take_seed(PLAN, Shot(id="a", prompt="x", seed=7), 1) == 7
    take = one.shot("a").takes[0]
    assert take.prompt == "a pier. ink wash"
    key = take_key("film", "3", PLAN, SHOTS[0], take, "")
    assert key == take_key("film", "3", PLAN, SHOTS[0], two.shot("a").takes[0], "")
    others = [
        take_key("other", "3", PLAN, SHOTS[0], take, ""),
        take_key("film", "4", PLAN, SHOTS[0], take, ""),
        take_key("film", "3", PLAN, SHOTS[0], take, "frame"),
        take_key("film", "3", PLAN.model_copy(update={"steps": 9}), SHOTS[0], take, ""),
        take_key("film", "3", PLAN, SHOTS[0], one.shot("a").takes[1], ""),
        rekeyed(key, "video_1"),
    ]
    assert len({key, *others}) == 7


def test_a_shot_waits_for_the_one_it_continues_from() -> None:
    state = new_state(PLAN, SHOTS)
    assert [(shot.id, take.number) for shot, _, take in ready(state, SHOTS)] == [
        ("a", 1), ("a", 2), ("c", 1),
    ]  # fmt: skip
    finish(state, "a", 1, "failed")
    assert [shot.id for shot, _, _ in ready(state, SHOTS)] == ["a", "c"]
    finish(state, "a", 2)
    assert state.shot("a").chosen == 2  # the first that there is
    assert [shot.id for shot, _, _ in ready(state, SHOTS)] == ["b", "c"]


def test_a_retake_is_shown_when_it_is_finished_and_may_cascade() -> None:
    state = new_state(PLAN, SHOTS)
    for shot, number in (("a", 1), ("a", 2), ("b", 1), ("c", 1)):
        finish(state, shot, number)
    retake(state, PLAN, SHOTS, "a", seed=5, prompt="a quay", cascade=False)
    assert (state.shot("a").chosen, len(state.shot("b").takes)) == (1, 1)
    finish(state, "a", 3)
    take = state.shot("a").take(3)
    assert take is not None and (take.seed, take.prompt) == (5, "a quay")
    assert state.shot("a").chosen == 3
    assert state.is_stale(state.shot("b"))
    retake(state, PLAN, SHOTS, "a", seed=None, prompt="", cascade=True)
    assert [(shot.id, take.number) for shot, _, take in ready(state, SHOTS)] == [("a", 4)]
    finish(state, "a", 4)
    assert [(shot.id, take.number) for shot, _, take in ready(state, SHOTS)] == [("b", 2)]
    finish(state, "b", 2)
    assert not state.is_stale(state.shot("b"))


def test_only_a_finished_take_can_be_chosen() -> None:
    state = new_state(PLAN, SHOTS)
    finish(state, "a", 1)
    finish(state, "a", 2)
    revision = state.revision
    choose(state, "a", 2)
    choose(state, "a", 2)
    assert (state.shot("a").chosen, state.revision) == (2, revision + 1)
    with pytest.raises(PlanError, match="3 of 'a' is not finished; finished: 1, 2"):
        choose(state, "a", 3)
    with pytest.raises(PlanError, match="'z' does not exist; the shots are a, b, c"):
        choose(state, "z", 1)


def test_words_for_pictures_and_tables() -> None:
    face = Faces.of(None).font(12)
    lines = wrapped("the quick brown fox jumps over the lazy dog", face, 80)
    assert " ".join(lines) == "the quick brown fox jumps over the lazy dog"
    assert all(face.getlength(line) <= 80 for line in [*lines, *wrapped("x" * 90, face, 80)])
    assert wrapped("one two three four five", face, 60, lines=1)[0].endswith("…")
    assert timecode(24 * 3661 + 5, 24) == "01:01:01:05"
    assert file_name("Ça va? ../../etc") == "ca-va-etc" and file_name("…") == "untitled"
    assert file_name("a" * 59 + " b") == "a" * 59
    formulas = ["=1+1", " @x", "-2", "\u200b=1", "\N{FULLWIDTH EQUALS SIGN}1", "\t1", "\ufeff +1"]
    assert [csv_cell(text) for text in formulas] == [f"'{text}" for text in formulas]
    assert [csv_cell(text) for text in ("plain", "", "a=1")] == ["plain", "", "a=1"]
