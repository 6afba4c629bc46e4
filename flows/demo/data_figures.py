"""What ingest and captioning came to, against the truth: pure functions of the lake's rows."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from flows.demo.captions import VOCABULARY
from flows.demo.figures import Figure
from flows.demo.scene import Attributes
from flows.demo.truth import Detection, Rate, boundary_f1, caption_scores, shot_at
from flows.demo.truth import duplicates_among as count_duplicates

if TYPE_CHECKING:
    from infra.lake import Lake

Row = Mapping[str, Any]

TRUE_REASONS = {"empty": "is empty", "truncated": "cut off", "not_video": "not a video"}
"""By the kind of broken file: words that a true reason for its quarantine holds."""


class Truth:
    """The world's truth by the lake's own keys: URIs of files, ids of clips.

    Args:
        truth: what `world.truth_of` returned.
        footage: the folder that its paths are relative to.
    """

    def __init__(self, truth: Mapping[str, Any], footage: Path) -> None:
        self.world = truth
        self._footage = footage.resolve()
        self._films = {film["path"]: film for film in truth["films"]}
        self.original = {copy["path"]: copy["of"] for copy in truth["duplicates"]}
        self.broken = {entry["path"]: entry["kind"] for entry in truth["broken"]}

    def path(self, uri: str) -> str:
        """A lake URI as the truth writes it."""
        path = Path(unquote(urlsplit(uri).path))
        return path.relative_to(self._footage).as_posix()

    def film(self, uri: str) -> Row | None:
        """The film in this file; a copy shows what its original shows, frame by frame."""
        path = self.path(uri)
        return self._films.get(self.original.get(path, path))

    def of_clips(self, clips: Iterable[Row], sources: Iterable[Row]) -> dict[str, Attributes]:
        """What each clip shows, by clip id. A clip without one dominant shot has no entry."""
        films = {
            row["source_id"]: film
            for row in sources
            if row["status"] == "accepted" and (film := self.film(row["uri"]))
        }
        shows = {
            clip["clip_id"]: shot_at(
                films[clip["source_id"]], clip["start_frame"], clip["end_frame"]
            )
            for clip in clips
            if clip["source_id"] in films
        }
        return {clip_id: seen for clip_id, seen in shows.items() if seen is not None}


def data_figures(lake: "Lake", release: str, truth: Truth) -> dict[str, Figure]:
    """The figures that need only the release and the truth."""
    columns = ["uri", "source_id", "status", "boundaries_json"]
    sources = lake.read("sources", columns, release=release).to_pylist()
    columns = ["clip_id", "source_id", "start_frame", "end_frame", "caption", "caption_source"]
    clips = lake.read("clips", columns, "status = 'accepted'", release).to_pylist()
    quarantined = lake.read("quarantine", ["uri", "reason"], release=release).to_pylist()
    return {
        **shot_figures(sources, truth),
        "quarantine_correct": quarantine_figure(quarantined, truth),
        "duplicates_trained_on": duplicates_figure(clips, sources, truth),
        "caption_accuracy": caption_figure(clips, truth.of_clips(clips, sources)),
    }


def shot_figures(sources: Iterable[Row], truth: Truth) -> dict[str, Figure]:
    """F1 of cuts and of gradual transitions over all films; a film not accepted counts as missed.

    A film is judged by the file of it that was accepted, which may be a copy.
    """
    found = {
        film["path"]: json.loads(row["boundaries_json"] or "[]")
        for row in sources
        if row["status"] == "accepted" and (film := truth.film(row["uri"]))
    }
    totals = {"cut": Detection(), "gradual": Detection()}
    for film in truth.world["films"]:
        scores = boundary_f1(found.get(film["path"], []), film["boundaries"])
        totals = {kind: totals[kind] + scores[kind] for kind in totals}
    return {
        f"shot_f1_{kind}": Figure(
            value=score.f1,
            n=score.hits + score.missed,
            note=f"precision {score.precision:.3f}, recall {score.recall:.3f}, "
            f"{score.missed} missed, {score.false} false",
        )
        for kind, score in totals.items()
    }


def quarantine_figure(quarantined: Sequence[Row], truth: Truth) -> Figure:
    """Share of broken files that are set aside for a true reason; a good film set aside counts
    as one more that went wrong."""
    reasons = {truth.path(row["uri"]): row["reason"] for row in quarantined}
    right = [
        path for path, kind in truth.broken.items() if TRUE_REASONS[kind] in reasons.get(path, "")
    ]
    wronged = sorted(set(reasons) - set(truth.broken))
    said = "; ".join(
        f"{kind}: {reasons.get(path, 'not set aside')}" for path, kind in truth.broken.items()
    )
    note = f"{said}; {len(wronged)} good files set aside"
    return Figure(
        value=len(right) / (len(truth.broken) + len(wronged)), n=len(truth.broken), note=note
    )


def duplicates_figure(clips: Iterable[Row], sources: Iterable[Row], truth: Truth) -> Figure:
    """Films that are in the release twice, by their files that clips were cut from."""
    used = {clip["source_id"] for clip in clips}
    paths = {
        truth.path(row["uri"])
        for row in sources
        if row["status"] == "accepted" and row["source_id"] in used
    }
    kinds = ", ".join(copy["kind"] for copy in truth.world["duplicates"])
    return Figure(
        value=count_duplicates(truth.world, paths),
        n=len(truth.world["duplicates"]),
        note=f"{len(paths)} films were trained on; duplicates among the files: {kinds}",
    )


def caption_figure(clips: Sequence[Row], shows: Mapping[str, Attributes]) -> Figure:
    """Share of attributes that captions made here state rightly, on clips that had none."""
    made = [clip for clip in clips if clip["caption_source"] != "sidecar"]
    judged = [clip for clip in made if clip["clip_id"] in shows]
    rates = caption_scores((clip["caption"] or "", shows[clip["clip_id"]]) for clip in judged)
    sources = Counter(clip["caption_source"] or "none" for clip in clips)
    by_source = ", ".join(f"{count} {source}" for source, count in sources.most_common())
    unclear = len(made) - len(judged)
    note = f"{rate_note(rates)}; captions: {by_source}"
    return Figure(
        value=rates["each"].value,
        n=rates["each"].n,
        note=note + (f"; {unclear} clips show no single shot" if unclear else ""),
    )


def rate_note(rates: Mapping[str, Rate]) -> str:
    """`"all right 0.94 (0.92 to 0.95); shape 0.97, …"`: Wilson's 95 % interval, then each."""
    low, high = rates["all"].interval
    each = ", ".join(f"{name} {rates[name].value:.3f}" for name in VOCABULARY)
    return f"all right {rates['all'].value:.3f} (95 %: {low:.3f} to {high:.3f}); {each}"
