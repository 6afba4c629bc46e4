"""Contact sheets of a refresh: clips that a release shows, and clips that it leaves out and why."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flows import artifacts
from flows.clip_words import noticed, remarks

if TYPE_CHECKING:
    from PIL.Image import Image

    from infra.lake import Lake
    from infra.releases import ReleaseInfo

SHEET_CLIPS = 24
SHEET_COLUMNS = 6
OUTSIDE = "outside the filter"
LABEL_LINES = 5
REJECTS_SHOW = ("motion", "sharpness", "luma")

Row = Mapping[str, Any]


def page(lake: "Lake", release: "ReleaseInfo") -> str:
    """Both contact sheets as Markdown, with a table of the reasons and how many clips each has."""
    left_out = clips_left_out(lake, release)
    parts = [
        f"# Clips of release {release.name}",
        f"## Kept: {release.counts['clips']:.0f} clips",
        "Some of them, spread evenly, each with the caption that a model learns from and, behind "
        "it, what stands out in the picture.",
        artifacts.picture(kept_sheet(lake, release), "clips that were kept"),
        "What a viewer would notice in them:",
        noticed(lake, release),
        f"## Left out: {len(left_out)} clips",
    ]
    if not left_out:
        return "\n\n".join([*parts, "None."])
    return "\n\n".join(
        [
            *parts,
            "They stay in the lake with their scores; another filter may bring some of them back. "
            "A grey tile is a clip of which nothing was stored.",
            reason_table(left_out),
            artifacts.picture(sheet(lake, _of_every_reason(left_out), release), "clips left out"),
        ]
    )


def kept_sheet(lake: "Lake", release: "ReleaseInfo") -> "Image":
    """The middle frame of clips spread evenly over the release, each with its caption and what
    stands out in it."""
    clips = lake.read("clips", _columns(), release.view, release.name).sort_by("clip_id")
    shown = clips.to_pylist()[:: _stride(clips.num_rows)]
    for row in shown:
        row["label"] = " · ".join([row["caption"] or "no caption", *remarks(row)])
    return sheet(lake, shown, release)


def clips_left_out(lake: "Lake", release: "ReleaseInfo") -> list[dict[str, Any]]:
    """Clips of the release's films that it does not show, each with a `reason` and a `label`."""
    from infra.thresholds import COMPARISON, SCORES

    asked = [name for name, _, _ in COMPARISON.findall(release.where) if name in SCORES]
    left_out = f"({release.view}) is not true"
    rows = lake.read("clips", _columns(), left_out, release.name).to_pylist()
    for row in rows:
        rejected = row["status"] == "rejected"
        reason, scores = (row["reason"], REJECTS_SHOW) if rejected else (OUTSIDE, asked)
        row["label"] = label(row, reason, scores)
        row["reason"] = row["reason"] if rejected else f"{OUTSIDE} {release.where}"
    return sorted(rows, key=lambda row: (row["reason"], row["clip_id"]))


def label(row: Row, reason: str, scores: Iterable[str]) -> str:
    """Why a clip was left out, how long it is, those of its scores that are there, and what stands
    out in it."""
    there = (name for name in dict.fromkeys(scores) if row.get(name) is not None)
    shown = [f"{name} {row[name]:.2g}" for name in there]
    return ", ".join([reason, f"{row['end_s'] - row['start_s']:.1f} s", *shown, *remarks(row)])


def reason_table(rows: Sequence[Row]) -> str:
    """How many clips, and how many seconds, each reason cost; the costliest first."""
    seconds: dict[str, list[float]] = {}
    for row in rows:
        seconds.setdefault(row["reason"], []).append(row["end_s"] - row["start_s"])
    lines = [(reason, len(own), round(sum(own), 1)) for reason, own in seconds.items()]
    lines.sort(key=lambda line: -line[2])
    return artifacts.table(["why left out", "clips", "seconds"], lines)


def sheet(lake: "Lake", rows: Sequence[dict[str, Any]], release: "ReleaseInfo") -> "Image":
    """The middle frame of each clip, with its `label`."""
    from infra.pictures import contact_sheet
    from infra.previews import middle_frames

    frames = middle_frames(lake, rows, release.name)
    tiles = [(frame, row["label"]) for frame, row in zip(frames, rows, strict=True)]
    return contact_sheet(tiles, columns=SHEET_COLUMNS, lines=LABEL_LINES)


def _columns() -> list[str]:
    from infra.lake_schema import SCORES
    from infra.previews import COLUMNS

    return [*COLUMNS, "status", "reason", "fps", "text_found", *SCORES]


def _of_every_reason(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """As many as a sheet holds, spread evenly over each reason; clips with pictures first."""
    by_reason: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_reason.setdefault(row["reason"], []).append(row)
    each = max(1, SHEET_CLIPS // len(by_reason))
    shown = []
    for own in by_reason.values():
        seen = [row for row in own if row["offset_s"] is not None] or own
        shown += seen[:: max(1, -(-len(seen) // each))]
    return shown[:SHEET_CLIPS]


def _stride(count: int) -> int:
    return max(1, -(-count // SHEET_CLIPS))
