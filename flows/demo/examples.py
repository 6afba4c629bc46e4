"""Which prompts the demo asks for: captions of held-out clips, and words never seen together."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flows.demo.scene import Attributes
from flows.demo.showreel import Example

if TYPE_CHECKING:
    from infra.lake import Lake

WORDED = 3
FPS, NUM_FRAMES = 8.0, 9
COLUMNS = ("clip_id", "caption", "split", "offset_s", "start_s", "end_s", "width", "height")
UNSEEN_SHAPE = (3, 4)


def choose(lake: "Lake", release: str, unseen: Sequence[Attributes] = ()) -> list[Example]:
    """Three prompts that differ in words and in shape; the last is of `unseen` if there are any."""
    rows = lake.read("clips", COLUMNS, "status = 'accepted'", release).to_pylist()
    picked = pick(rows, WORDED - bool(unseen))
    data = lake.read_clip_bytes([row["clip_id"] for row in picked], release)
    examples = [_example(row, data[row["clip_id"]]) for row in picked]
    if unseen:
        attributes = unseen[len(unseen) // 2]
        examples.append(Example(prompt=attributes.caption(), frames=None, shape_of=UNSEEN_SHAPE))
    return examples


def pick(rows: Sequence[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """Rows of clips to show: held-out ones first, new shapes before known ones, no caption twice.

    Always the same ones for the same rows in any order.
    """
    left = sorted(rows, key=lambda row: str(row["clip_id"]))
    picked: list[dict[str, Any]] = []
    while left and len(picked) < count:
        best = min(left, key=lambda row: _unlike(row, picked))
        picked.append(best)
        left = [row for row in left if row["caption"] != best["caption"]]
    return picked


def _unlike(row: dict[str, Any], picked: Sequence[dict[str, Any]]) -> tuple[bool, bool, int]:
    """Sorts first what adds most to `picked`."""
    words = set(row["caption"].split())
    shared = [len(words & set(other["caption"].split())) for other in picked]
    shapes = {_shape(other) for other in picked}
    return row["split"] != "val", _shape(row) in shapes, max(shared, default=0)


def _shape(row: dict[str, Any]) -> float:
    return round(float(row["width"] / row["height"]), 1)


def _example(row: dict[str, Any], data: bytes) -> Example:
    from infra.video import read_clip

    last_s = row["end_s"] - row["start_s"] - 0.5 / FPS
    times_s = [min(index / FPS, last_s) for index in range(NUM_FRAMES)]
    return Example(
        prompt=row["caption"],
        frames=read_clip(data, row["offset_s"], times_s, None),
        shape_of=(row["width"], row["height"]),
    )
