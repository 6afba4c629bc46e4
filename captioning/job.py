"""Caption every accepted clip that lacks a caption of this recipe.

    python -m captioning.job --spec spec.json

spec: {"recipe": {...CaptionRecipe}, "track": true}; "track": false trains without MLflow.

A person's words win (`clips.sidecar`). The rest is captioned by CoCa: pretrained if the recipe
names a model, else trained here on the clips that have a sidecar. With neither, measured facts
make the caption. `clips.caption_source` says which it was, and `caption_score` how sure it is:
1.0 for sidecars and facts, for CoCa the mean probability of its words.
"""

import sys
from collections import Counter
from typing import Any

from captioning.facts import facts_caption
from captioning.frames import ClipSpan
from captioning.recipe import CaptionRecipe
from infra.job_files import JobContext, run_job
from infra.lake import Lake
from infra.recipes import fingerprint, from_dict
from infra.settings import Settings

Row = dict[str, Any]
COLUMNS = (
    "clip_id",
    "offset_s",
    "start_s",
    "end_s",
    "width",
    "height",
    "facts_json",
    "sidecar",
    "caption",
    "caption_source",
    "caption_recipe",
)


def main(context: JobContext) -> dict[str, Any]:
    """Returns {"captioned", "by_source", "trained", "heldout", "seconds"}."""
    recipe = from_dict(CaptionRecipe, context.spec.get("recipe", {}))
    settings = Settings()
    lake = Lake(settings.lake_uri)
    name = fingerprint(recipe)
    result: dict[str, Any] = {"trained": False, "heldout": {}, "seconds": {}}

    rows = lake.read("clips", columns=COLUMNS, where="status = 'accepted'").to_pylist()
    spoken = [row for row in rows if _words(row)]
    silent = [row for row in rows if not _words(row)]
    can_learn = bool(recipe.pretrained_model) or len(spoken) >= recipe.min_labelled
    source = "coca" if can_learn else "facts"
    lacking = [row for row in silent if not _has(row, source, name)]
    made = [
        _captioned(row, _words(row), "sidecar", 1.0, name)
        for row in spoken
        if row["caption"] != _words(row) or not _has(row, "sidecar", name)
    ]
    if lacking and can_learn:
        # Torch and open_clip take seconds to import, so only a run that needs them does.
        from captioning.recaption import Recaptioner

        worker = Recaptioner(context, settings, lake, recipe)
        captioner = worker.captioner([(_span(row), _words(row)) for row in spoken])
        # One captioner speaks for the whole lake: what an older one said is said anew.
        lacking = silent if worker.trained else lacking
        told = worker.caption(captioner, [_span(row) for row in lacking])
        for row, (text, score) in zip(lacking, told, strict=True):
            made.append(_captioned(row, text, source, score, name))
        result |= {"trained": worker.trained, "heldout": worker.heldout, "seconds": worker.seconds}
    else:
        for row in lacking:
            made.append(_captioned(row, facts_caption(row["facts_json"]), source, 1.0, name))
    lake.upsert("clips", made)
    by_source = Counter(row["caption_source"] for row in made)
    context.progress(1, 1, f"captioned {len(made)} clips")
    return result | {"captioned": len(made), "by_source": dict(by_source)}


def _words(row: Row) -> str:
    """What a person wrote of the clip, on one line; empty if nobody did."""
    return " ".join((row["sidecar"] or "").split())


def _has(row: Row, source: str, recipe: str) -> bool:
    """Whether the clip has a caption from `source` under this recipe."""
    return bool(row["caption_source"] == source and row["caption_recipe"] == recipe)


def _span(row: Row) -> ClipSpan:
    return ClipSpan(
        clip_id=row["clip_id"],
        offset_s=row["offset_s"],
        duration_s=row["end_s"] - row["start_s"],
        width=row["width"],
        height=row["height"],
    )


def _captioned(row: Row, caption: str, source: str, score: float, recipe: str) -> Row:
    return {
        "clip_id": row["clip_id"],
        "caption": caption,
        "caption_source": source,
        "caption_score": score,
        "caption_recipe": recipe,
    }


if __name__ == "__main__":
    sys.exit(run_job(main))
