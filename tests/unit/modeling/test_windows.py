import itertools

import pytest

from modeling.windows import plan, plan_loop


def windows(known: str, size: int = 4) -> list[str]:
    """Each window: a row of groups, x known then, o made, . not seen."""
    have = [one == "x" for one in known]
    shown = []
    for window in plan(have, size, recent=2, coming=1):
        have += [False] * (window.end - len(have))
        row = ["x" if h else "o" for h in have[window.first : window.end]]
        shown.append("." * window.first + "".join(row))
        have[window.first : window.end] = [True] * (window.end - window.first)
    assert all(have)
    return shown


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ("ooo", ["oooo"]),
        ("oooooo", ["oooo", "..xxoo"]),
        ("xxo", ["xxoo"]),
        ("xxooo", ["xxoo", "..xxoo"]),
        ("xoo", ["xooo"]),
        ("ooox", ["ooox"]),
        ("oooooox", ["...ooox", "ooox"]),
        ("ooooxx", [".ooox", "oxxx"]),
        ("xxoxx", ["xxox"]),
        ("xxoox", [".xoox"]),
        ("xxooox", ["xxo", "..xoox"]),
        ("xxoooooox", ["xxoo", "..xxoo", ".....xoox"]),
        ("xoxxo", ["xox", "..xxoo"]),
    ],
)
def test_windows_make_what_is_missing_and_see_both_sides_of_it(
    known: str, expected: list[str]
) -> None:
    assert windows(known) == expected


@pytest.mark.parametrize("size", [2, 3, 4, 9])
@pytest.mark.parametrize("length", range(1, 9))
def test_whatever_is_given_the_windows_make_the_rest(size: int, length: int) -> None:
    for bits in itertools.product("xo", repeat=length):
        have = [one == "x" for one in bits]
        planned = plan(have, size, recent=size // 2, coming=min(1, size - 2))
        for window in planned:
            assert 0 <= window.first < window.end <= window.first + size
            have += [False] * (window.end - len(have))
            assert not all(have[window.first : window.end])
            have[window.first : window.end] = [True] * (window.end - window.first)
        assert all(have)


def test_a_loops_last_window_sees_its_first_groups_again() -> None:
    # Group 0 opens the first window; 1 to 6 are the loop, 7 is 1 again.
    spans = [(w.first, w.end) for w in plan_loop([False] * 7, 4, 2, 1)]
    assert spans == [(0, 4), (1, 5), (4, 8)]
    spans = [(w.first, w.end) for w in plan_loop([False, True, True, False, False], 4, 2, 1)]
    assert spans == [(2, 6)]
