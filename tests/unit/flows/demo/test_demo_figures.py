import math

import pytest

from flows.demo.figures import GOALS, Figure, as_json, shown, table_lines, verdict

TARGETS = {  # as promised to the demo's readers
    "total_s": ("lower", 1200),
    "peak_rss_gb": ("lower", 10),
    "shot_f1_cut": ("higher", 0.98),
    "shot_f1_gradual": ("higher", 0.80),
    "quarantine_correct": ("higher", 1),
    "duplicates_trained_on": ("lower", 0),
    "caption_accuracy": ("higher", 0.97),
    "vae_oracle": ("higher", 0.97),
    "prompt_accuracy_seen": ("higher", 0.90),
    "prompt_accuracy_unseen": ("higher", 0.70),
    "prompt_accuracy_shuffled": ("higher", None),
    "image_to_video_psnr_db": ("higher", 30),
    "extend_continuity": ("higher", 0.90),
    "loader_wait_share": ("lower", 0.02),
    "serve_over_sampler": ("lower", 1.15),
}


def test_the_promised_figures_and_targets():
    assert {key: (goal.better, goal.target) for key, goal in GOALS.items()} == TARGETS


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("total_s", 1200.0, "met"),
        ("total_s", 1200.1, "MISSED"),
        ("vae_oracle", 0.97, "met"),
        ("vae_oracle", 0.969, "MISSED"),
        ("duplicates_trained_on", 0, "met"),
        ("prompt_accuracy_shuffled", 0.01, ""),
        ("serve_over_sampler", math.nan, "MISSED"),
        ("image_to_video_psnr_db", math.nan, "MISSED"),
    ],
)
def test_verdicts(key, value, said):
    assert verdict(key, Figure(value=value, n=1)) == said


def test_json_has_only_what_was_measured_in_the_tables_order():
    figures = {"vae_oracle": Figure(value=0.98, n=240, note="x"), "total_s": Figure(value=9, n=1)}
    body = as_json(figures)
    assert list(body) == ["total_s", "vae_oracle"]
    assert body["vae_oracle"] == {
        "value": 0.98,
        "target": 0.97,
        "better": "higher",
        "n": 240,
        "note": "x",
    }


def test_a_miss_is_seen_in_the_table():
    (_, line) = table_lines({"total_s": Figure(value=1300.4, n=1)})
    assert "MISSED" in line and "1300" in line and "≤ 1200" in line


def test_a_value_just_below_its_target_is_not_shown_as_the_target():
    assert shown(0.969) == "0.969" and shown(0.8996) == "0.8996"
