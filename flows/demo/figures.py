"""The demo's figures: what each one says, what it has to reach, and how it is shown."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LOWER, HIGHER = "lower", "higher"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A measured number: from how many trials, and what a reader should know of them."""

    value: float
    n: int
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What a figure means. A figure without a target is only printed."""

    what: str
    better: str
    target: float | None = None

    def is_met(self, value: float) -> bool | None:
        """None without a target. A value that is not a number is not met."""
        if self.target is None:
            return None
        return value <= self.target if self.better == LOWER else value >= self.target

    @property
    def bound(self) -> str:
        """`"≤ 1200"`, or nothing."""
        if self.target is None:
            return ""
        return f"{'≤' if self.better == LOWER else '≥'} {self.target:g}"


GOALS: dict[str, Goal] = {
    "total_s": Goal(what="seconds for everything", better=LOWER, target=1200),
    "peak_rss_gb": Goal(what="memory of all processes at their peak, GiB", better=LOWER, target=10),
    "shot_f1_cut": Goal(what="hard cuts found, F1", better=HIGHER, target=0.98),
    "shot_f1_gradual": Goal(what="dissolves and fades found, F1", better=HIGHER, target=0.80),
    "quarantine_correct": Goal(
        what="broken files set aside for a true reason", better=HIGHER, target=1
    ),
    "duplicates_trained_on": Goal(what="duplicates that reached training", better=LOWER, target=0),
    "caption_accuracy": Goal(
        what="attributes right in captions made here", better=HIGHER, target=0.97
    ),
    "vae_oracle": Goal(what="clips unharmed by the VAE", better=HIGHER, target=0.97),
    "prompt_accuracy_seen": Goal(
        what="prompts followed, combinations seen in training", better=HIGHER, target=0.90
    ),
    "prompt_accuracy_unseen": Goal(
        what="prompts followed, combinations never seen", better=HIGHER, target=0.70
    ),
    "prompt_accuracy_shuffled": Goal(
        what="the floor: the same clips, other prompts", better=HIGHER
    ),
    "image_to_video_psnr_db": Goal(what="a given picture kept, dB", better=HIGHER, target=30),
    "extend_continuity": Goal(what="the same object across the seam", better=HIGHER, target=0.90),
    "loader_wait_share": Goal(
        what="training time spent waiting for data", better=LOWER, target=0.02
    ),
    "serve_over_sampler": Goal(
        what="a request's time over the bare sampler's", better=LOWER, target=1.15
    ),
}
"""Every figure, in the order in which the table shows them."""


def in_order(figures: Mapping[str, Figure]) -> dict[str, Figure]:
    """The measured figures in the table's order."""
    return {key: figures[key] for key in GOALS if key in figures}


def as_json(figures: Mapping[str, Figure]) -> dict[str, dict[str, Any]]:
    """The form of `report.json`: {key: {value, target, better, n, note}}."""
    return {
        key: {
            "value": figure.value,
            "target": GOALS[key].target,
            "better": GOALS[key].better,
            "n": figure.n,
            "note": figure.note,
        }
        for key, figure in in_order(figures).items()
    }


def verdict(key: str, figure: Figure) -> str:
    """`"met"`, `"MISSED"`, or nothing without a target."""
    met = GOALS[key].is_met(figure.value)
    return {None: "", True: "met", False: "MISSED"}[met]


def shown(value: float) -> str:
    """A number with as many digits as it deserves."""
    return f"{value:.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.4g}"


def table_lines(figures: Mapping[str, Figure]) -> list[str]:
    """The table as it is printed."""
    lines = [f"{'figure':<25} {'value':>8} {'target':>8}  {'':<7} what (how many)"]
    for key, figure in in_order(figures).items():
        goal = GOALS[key]
        lines.append(
            f"{key:<25} {shown(figure.value):>8} {goal.bound:>8}  {verdict(key, figure):<7} "
            f"{goal.what} (n = {figure.n})"
        )
    return lines
