"""What thresholds keep: counts for any filter over clips, and the clips nearest to each threshold.

A filter is what a release's view is made of: `motion > 0.1 and luma < 0.9`. It deletes nothing.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from infra import lake_schema
from infra.lake import Lake
from infra.previews import COLUMNS
from infra.releases import ACCEPTED, view

SCORES = (*lake_schema.SCORES, "duration_s", "fps", "width", "height")
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
COMPARISON = re.compile(r"\b([a-z_]+)\s*(<=|>=|<|>)\s*(-?\d+(?:\.\d+)?)")


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """One comparison of a filter, alone: how many accepted clips meet it, and its neighbours.

    `kept` and `lost` are the clips nearest to it on either side, the nearest first, as rows with
    `COLUMNS` and their `value`.
    """

    column: str
    sign: str
    value: float
    clips_kept: int
    kept: Sequence[dict[str, Any]]
    lost: Sequence[dict[str, Any]]

    def __str__(self) -> str:
        return f"{self.column} {self.sign} {self.value:g}"


@dataclass(frozen=True, kw_only=True)
class Effect:
    """What a whole filter keeps of the accepted clips."""

    clips: int
    seconds: float
    clips_kept: int
    seconds_kept: float
    thresholds: Sequence[Threshold]


def spread(lake: Lake) -> dict[str, list[float]]:
    """The scores of the accepted clips at `QUANTILES`, by score; empty without clips."""
    rows = lake.read("clips", ["start_s", "end_s", *_stored(SCORES)], ACCEPTED).to_pylist()
    found = {}
    for name in SCORES:
        values = [value for row in rows if (value := _score(row, name)) is not None]
        if values:
            found[name] = [float(q) for q in np.quantile(values, QUANTILES)]
    return found


def effect(lake: Lake, where: str, neighbours: int = 8) -> Effect:
    """What `where` keeps, and the clips on either side of each of its thresholds.

    Raises:
        InputError: it does not parse, or names an unknown column.
    """
    everything = lake.read("clips", [*COLUMNS, *_stored(SCORES)], ACCEPTED).to_pylist()
    kept = lake.read("clips", ["clip_id"], view(where))["clip_id"].to_pylist()
    seconds = {row["clip_id"]: row["end_s"] - row["start_s"] for row in everything}
    return Effect(
        clips=len(everything),
        seconds=sum(seconds.values()),
        clips_kept=len(kept),
        seconds_kept=sum(seconds[clip_id] for clip_id in kept),
        thresholds=[
            _threshold(everything, column, sign, float(number), neighbours)
            for column, sign, number in COMPARISON.findall(where)
            if column in SCORES
        ],
    )


def _threshold(
    rows: Sequence[dict[str, Any]], column: str, sign: str, value: float, neighbours: int
) -> Threshold:
    scored = [{**row, "value": score} for row in rows if (score := _score(row, column)) is not None]
    scored.sort(key=lambda row: (abs(row["value"] - value), row["clip_id"]))
    kept = [row for row in scored if _meets(row["value"], sign, value)]
    lost = [row for row in scored if not _meets(row["value"], sign, value)]
    return Threshold(
        column=column,
        sign=sign,
        value=value,
        clips_kept=len(kept),
        kept=kept[:neighbours],
        lost=lost[:neighbours],
    )


def _meets(score: float, sign: str, value: float) -> bool:
    if sign.startswith("<"):
        return score < value or (sign == "<=" and score == value)
    return score > value or (sign == ">=" and score == value)


def _stored(names: Sequence[str]) -> list[str]:
    return [name for name in names if name != "duration_s" and name not in COLUMNS]


def _score(row: dict[str, Any], name: str) -> float | None:
    if name == "duration_s":
        return float(row["end_s"] - row["start_s"])
    value = row.get(name)
    return None if value is None else float(value)
