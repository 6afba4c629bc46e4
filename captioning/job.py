"""Caption every accepted clip that lacks a caption by the captioners of this recipe; then embed and
compare clips, score them with the recipe's weights, and read text in them if it says so.

    python -m captioning.job --spec spec.json

spec: {"recipe": {...CaptionRecipe}, "likeness": {...LikenessRecipe}, "track": true,
       "parallel": "inline" | "ray" | "auto"};
      "track": false trains without MLflow; `captioning.inference` says what parallel means.

The captioners are asked in the order of `recipe.prefer`, each about the clips that those before it
left without words: a person's words win, then the endpoint if the recipe names one, then CoCa,
pretrained or trained here on the clips that have a person's words, then measured facts. All that
they said stays side by side in the lake's `captions`, stored as it comes, so that nothing is asked
or paid for twice. `clips.caption` is the choice among it, `caption_source` and `caption_version`
say whose it is, and `caption_score` how sure that one was.
"""

import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from captioning.captioner import Captioner, Clip, SidecarCaptioner
from captioning.captions import Captions
from captioning.drift import drift, watch_rank, watched
from captioning.endpoint import EndpointCaptioner
from captioning.facts import FactsCaptioner
from captioning.frames import FrameReader
from captioning.heads import check_width, load_heads
from captioning.inference import Inference
from captioning.learned_scores import update_scores
from captioning.likeness import Likeness
from captioning.overlay import RapidReader
from captioning.progress import Progress
from captioning.recaption import Recaptioner
from captioning.recipe import CaptionRecipe, LikenessRecipe
from captioning.text_scores import update_texts
from infra.job_files import JobContext, run_job
from infra.lake import Lake
from infra.recipes import from_dict
from infra.settings import Settings

Row = dict[str, Any]
CHOSEN = ("caption", "caption_source", "caption_score", "caption_version")
COLUMNS = (
    *("clip_id", "offset_s", "start_s", "end_s", "width", "height", "facts_json", "sidecar"),
    *CHOSEN,
)


def main(context: JobContext) -> dict[str, Any]:
    """Returns {"captioned": clips whose caption changed, "by_source": of these, "trained",
    "heldout", "seconds": of CoCa, "endpoint": {"version", "asked", "answered", "failed": {reason:
    clips}, "left", "tokens", "stopped"} or {}, "drift": [{"source", "version", "previous", …}],
    "embedded", "near_duplicates", "scored": {kind: clips}}.
    """
    recipe = from_dict(CaptionRecipe, context.spec.get("recipe", {}))
    alike = from_dict(LikenessRecipe, context.spec.get("likeness", {}))
    settings, progress = Settings(), Progress(context)
    # What would stop the run at its end is said before its first clip.
    heads = load_heads(recipe.heads, settings.home)
    reader = RapidReader(settings.cpu_count) if recipe.text.read else None
    lake = Lake(settings.lake_uri)
    rows = lake.read("clips", columns=COLUMNS, where="status = 'accepted'").to_pylist()
    clips = [_clip(row) for row in rows]
    frames = FrameReader(lake, recipe.coca, settings.cpu_count)
    parallel = context.spec.get("parallel", "inline")
    inference = Inference(parallel, settings, lake, frames, context.raise_if_stopping)
    coca = _coca(recipe, settings, lake, clips, progress, frames, inference, context.spec)
    endpoint = EndpointCaptioner(settings, lake, recipe.endpoint, progress)
    speakers: dict[str, Captioner | None] = {
        "sidecar": SidecarCaptioner(),
        "endpoint": endpoint if recipe.endpoint.url else None,
        "coca": coca,
        "facts": FactsCaptioner(),
    }
    captioners = [found for source in recipe.order if (found := speakers[source])]
    captions = Captions(lake, captioners)
    for number, captioner in enumerate(captioners):
        share = number / len(captioners), (number + 1) / len(captioners)
        _ask(captioner, captioners[:number], clips, captions, progress, share)
    made = _choose(rows, captioners, captions)
    changes = [_drift(captioner, rows, clips, made, captions) for captioner in captioners]
    lake.upsert("clips", list(made.values()))
    began = time.monotonic()
    words = {clip.clip_id: clip.words for clip in clips if clip.words}
    likeness = Likeness(context, settings, lake, recipe.coca, alike, words)
    if heads:
        check_width(heads, likeness.embedder.width, likeness.embedder.version)
    alike_found = likeness.update(clips, inference)
    scored = update_scores(context, lake, heads, likeness.embedder.version)
    if reader is not None:
        scored["text"] = update_texts(context, lake, clips, reader, recipe.text, inference)
    seconds = {**(coca.seconds if coca else {}), "likeness": time.monotonic() - began}
    context.progress(1, 1, f"captioned {len(made)} clips")
    return {
        "captioned": len(made),
        "by_source": dict(Counter(row["caption_source"] for row in made.values())),
        "trained": coca.trained if coca else False,
        "heldout": coca.heldout if coca else {},
        "seconds": seconds,
        "endpoint": endpoint.result() if endpoint in captioners else {},
        "drift": [change for change in changes if change],
        **alike_found,
        "scored": scored,
    }


def _coca(
    recipe: CaptionRecipe,
    settings: Settings,
    lake: Lake,
    clips: Sequence[Clip],
    progress: Progress,
    frames: FrameReader,
    inference: Inference,
    spec: Mapping[str, Any],
) -> Recaptioner | None:
    """CoCa, unless the recipe leaves it out or there is too little to learn from."""
    labelled = [clip for clip in clips if clip.words]
    can_learn = recipe.coca.pretrained_model or len(labelled) >= recipe.coca.min_labelled
    if "coca" not in recipe.order or not can_learn:
        return None
    track = spec.get("track", True)
    return Recaptioner(
        settings, lake, recipe.coca, labelled, progress, frames, inference, track=track
    )


def _ask(
    captioner: Captioner,
    preferred: Sequence[Captioner],
    clips: Sequence[Clip],
    captions: Captions,
    progress: Progress,
    share: tuple[float, float],
) -> None:
    """Ask about the clips of which neither this captioner nor a preferred one has said anything;
    about all, if asking is free. Watched clips come first: a budget must not hide a drift."""
    asked = list(clips)
    if not captioner.free:
        for other in (captioner, *preferred):
            asked = [clip for clip in asked if clip.clip_id not in captions.by(other)]
        asked.sort(key=lambda clip: watch_rank(clip.clip_id))
    progress.begin(captioner.source, len(asked), share)
    for some, told in captioner.caption(asked):
        captions.store(captioner, some, told)
        progress.clips(len(some) if captioner.free else 0)


def _choose(
    rows: Sequence[Row], captioners: Sequence[Captioner], captions: Captions
) -> dict[str, Row]:
    """New values by clip id, for the clips whose chosen caption changed."""
    made = {}
    for row in rows:
        clip_id = row["clip_id"]
        chosen = next(found for found in captioners if clip_id in captions.by(found))
        text, score = captions.by(chosen)[clip_id]
        new = dict(zip(CHOSEN, (text, chosen.source, score, chosen.version), strict=True))
        if any(row[name] != value for name, value in new.items()):
            made[clip_id] = {"clip_id": clip_id, **new}
    return made


def _drift(
    captioner: Captioner,
    rows: Sequence[Row],
    clips: Sequence[Clip],
    made: dict[str, Row],
    captions: Captions,
) -> dict[str, Any] | None:
    """How the watched captions changed, when a new version of this source begins to be used.

    What is in use is known from the clips themselves: they are written last, so a job that was
    killed in between sees the change too.
    """
    if captioner.free:
        return None
    ids = watched(clip.clip_id for clip in clips if not clip.words)
    used = {row["caption_version"] for row in rows if row["caption_source"] == captioner.source}
    begins = any(made.get(i, {}).get("caption_source") == captioner.source for i in ids)
    if captioner.version in used or not begins:
        return None
    previous, before = captions.before(captioner, ids)
    after = {i: told[0] for i, told in captions.by(captioner).items() if i in before}
    if not after:
        return None
    names = {"source": captioner.source, "version": captioner.version, "previous": previous}
    return {**names, **drift(before, after)}


def _clip(row: Row) -> Clip:
    return Clip(
        clip_id=row["clip_id"],
        offset_s=row["offset_s"],
        duration_s=row["end_s"] - row["start_s"],
        width=row["width"],
        height=row["height"],
        facts_json=row["facts_json"],
        words=" ".join((row["sidecar"] or "").split()),
    )


if __name__ == "__main__":
    sys.exit(run_job(main))
