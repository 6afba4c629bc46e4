import pytest

from flows.clip_words import remarks
from infra.lake_schema import SCORES

NOTHING = dict.fromkeys((*SCORES, "text_found"))


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        ({}, []),
        ({"static_share": 0.02, "static_longest_s": 0.1, "black_share": 0.0}, []),
        ({"static_share": 1.0, "static_longest_s": 9.0}, ["stands still all the time"]),
        (
            {"black_share": 1.0, "black_longest_s": 2.0, "static_share": 1.0, "crushed_share": 1.0},
            ["black all the time"],
        ),
        ({"black_share": 0.2, "black_longest_s": 0.83}, ["black for 0.8 s"]),
        (
            {"bar_top_share": 0.125, "bar_bottom_share": 0.125, "bar_left_share": 0.0},
            ["black bars above and below (25% of the height)"],
        ),
        (
            {"bar_left_share": 0.25, "bar_right_share": 0.0},
            ["black bar left (25% of the width)"],
        ),
        (
            {"crushed_share": 0.5, "blown_share": 0.2},
            ["shadows without detail on 50% of the picture",
             "lights without detail on 20% of the picture"],
        ),
        (
            {"text_share": 0.08, "text_found": "LIVE\nnow"},
            ["text on 8% of the picture: “LIVE now”"],
        ),
        ({"text_share": 0.0, "text_found": ""}, []),
        (
            {"aesthetic_score": 5.31, "unsafe_score": 0.02},
            ["rated 5.3 as pleasing", "rated 0.02 as unfit to be shown"],
        ),
    ],
)  # fmt: skip
def test_what_stands_out_is_said_and_nothing_else(
    scores: dict[str, object], words: list[str]
) -> None:
    assert list(remarks(NOTHING | scores)) == words


def test_long_text_is_cut() -> None:
    (said,) = remarks(NOTHING | {"text_share": 0.3, "text_found": "word " * 40})
    assert said.endswith("…”") and len(said) < 75
