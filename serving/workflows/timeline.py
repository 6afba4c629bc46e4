"""A cut as editors open it: OpenTimelineIO with every take, CMX 3600 EDL, FCPXML, a table."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path

import opentimelineio as otio
from opentimelineio.opentime import RationalTime, TimeRange

from serving.workflows.cut import Panel, count_frames
from serving.workflows.deliverable import Takes
from serving.workflows.lettering import csv_cell, timecode

REEL_LENGTH = 8  # CMX 3600 has no longer reel names
COLUMNS = (
    "shot", "take", "in", "out", "frames", "seconds", "scene", "framing", "camera", "lens",
    "prompt", "dialogue", "characters", "continuity", "seed", "model_version", "parent", "job_id",
    "file", "sha256",
)  # fmt: skip


def write_timelines(
    panels: Sequence[Panel], takes: Takes, title: str, fps: float, stem: Path
) -> None:
    """`stem`.otio, .edl and .fcpxml; media are named relative to them."""
    cut = timeline(panels, takes, title, fps)
    otio.adapters.write_to_file(cut, f"{stem}.otio")
    otio.adapters.write_to_file(cut, f"{stem}.edl", adapter_name="cmx_3600", rate=fps)
    markup = otio.adapters.write_to_string(cut, "fcpx_xml")
    # The adapter leaves the picture's size out, which Final Cut then asks for.
    size = f'width="{panels[0].width}" height="{panels[0].height}"'
    markup = re.sub(r'(<format [^>]*?) name=""/>', rf"\1 {size}/>", markup, count=1)
    stem.with_name(f"{stem.name}.fcpxml").write_text(markup, encoding="utf-8")


def timeline(panels: Sequence[Panel], takes: Takes, title: str, fps: float) -> otio.schema.Timeline:
    """One track; each clip carries all finished takes, the chosen one active."""
    cut = otio.schema.Timeline(name=title)
    track = otio.schema.Track(name="V1", kind=otio.schema.TrackKind.Video)
    reels = reel_names([panel.take.shot for panel in panels])
    for panel, reel in zip(panels, reels, strict=True):
        track.append(_clip(panel, takes, reel, fps))
    cut.tracks.append(track)
    return cut


def _clip(panel: Panel, takes: Takes, reel: str, fps: float) -> otio.schema.Clip:
    media = {}
    for take in takes.takes[panel.take.shot]:
        frames = count_frames(take.path)[0]
        reference = otio.schema.ExternalReference(
            target_url=take.name,
            available_range=_span(0, frames, fps),
            metadata={"reelwright": _provenance(take.__dict__)},
        )
        reference.name = f"{take.shot} take {take.number}"
        media[f"take-{take.number}"] = reference
    dialogue = " ".join(panel.notes.get("dialogue", "").split())
    clip = otio.schema.Clip(
        name=panel.take.shot,
        source_range=_span(0, panel.num_frames, fps),
        metadata={
            # An EDL is made of lines: what users wrote must stay on one, and that line must not
            # begin with a word of the format's, such as FROM CLIP.
            "cmx_3600": {
                "reel": reel,
                "comments": [f"DIALOGUE {dialogue[:200]}"] if dialogue else [],
            },
            "reelwright": {**panel.notes, **_provenance(panel.take.__dict__)},
        },
    )
    clip.set_media_references(media, f"take-{panel.take.number}")
    return clip


def _span(start: int, frames: int, fps: float) -> TimeRange:
    return TimeRange(RationalTime(start, fps), RationalTime(frames, fps))


def _provenance(take: dict[str, object]) -> dict[str, object]:
    names = ("number", "prompt", "seed", "model_version", "job_id", "parent", "sha256")
    return {name: take[name] for name in names}


def reel_names(shots: Sequence[str]) -> list[str]:
    """A name of at most eight characters for each shot, all different."""
    names: list[str] = []
    for number, shot in enumerate(shots, 1):
        name = re.sub(r"[^A-Za-z0-9]", "", shot).upper()
        if len(name) > REEL_LENGTH or name in names:
            name = f"R{number:07}"
        names.append(name)
    return names


def write_csv(panels: Sequence[Panel], fps: float, path: Path) -> None:
    """One row a shot, in the order of the cut."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        for panel in panels:
            take = panel.take
            row: dict[str, object] = {name: csv_cell(panel.notes.get(name, "")) for name in COLUMNS}
            row |= {
                "shot": take.shot, "take": take.number, "in": timecode(panel.start, fps),
                "out": timecode(panel.end, fps), "frames": panel.num_frames,
                "seconds": f"{panel.num_frames / fps:g}", "prompt": csv_cell(take.prompt),
                "seed": take.seed, "model_version": csv_cell(take.model_version),
                "parent": take.parent or "", "job_id": take.job_id, "file": take.name,
                "sha256": take.sha256,
            }  # fmt: skip
            table.writerow(row)
