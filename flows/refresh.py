"""`refresh-data`: footage → shots → clips → captions → a release."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.events import emit_event
from prefect.states import Completed
from prefect.variables import Variable

from captioning.recipe import LikenessRecipe
from flows import caption_recipe, ingest_recipe, refresh_report
from flows.automations import CHANGE, RELEASE_CREATED
from flows.steps import log, run_step, stop_jobs, stopping_jobs
from infra.catalog import Catalog
from infra.errors import InputError
from infra.recipes import fingerprint, to_dict
from infra.settings import Settings

if TYPE_CHECKING:
    from infra.lake import Lake
    from infra.releases import ReleaseInfo

LAST = "reel_footage"
LARGE_CHANGE = 0.1  # of a release's seconds


@flow(
    name="refresh-data",
    flow_run_name="refresh {uri}",
    description="Footage → shots → clips → captions → a release. Safe to run again at any time.",
    on_cancellation=[stop_jobs],
    persist_result=True,
    result_serializer="json",
)
def refresh_data(
    uri: str = "", release_name: str = "", where: str = "", retry: bool = False
) -> State[dict[str, Any]]:
    """Bring the lake up to date with the footage at `uri`, and name the result.

    Args:
        uri: Footage: the absolute path of a folder or a manifest, or a URI such as s3://bucket/films.
            Empty: the same as last time, and its filter.
        release_name: Name of the release. Empty: today's date and a number.
        where: Which clips the release shows, such as "motion > 0.1". Empty: all accepted ones.
        retry: Judge anew all that is in quarantine, instead of looking for footage.

    Returns:
        {"release", "created", "funnel", "captions": count by source of this run, "counts"},
        of a retry also "retried" and "mended" files
    """
    # Lance brings pandas along: seconds that no other command should pay.
    from captioning.heads import load_heads
    from captioning.learned_scores import unscored
    from captioning.overlay import check_installed
    from infra.lake import Lake
    from infra.releases import create_release, get_release
    from infra.upkeep import keep_up

    settings, spec = Settings(), dict[str, Any](retry=True)
    if retry:
        where = where or last_footage()[1]
    else:
        uri, where = footage(uri, where)
        spec = {"uri": uri}
    catalog, lake = Catalog(settings.catalog_url), Lake(settings.lake_uri)
    reading, captioning = ingest_recipe.load(settings), caption_recipe.load(settings)
    # A recipe that cannot be followed is refused before any film is read.
    heads, alike = load_heads(captioning.heads, settings.home), LikenessRecipe()
    if captioning.text.read:
        check_installed()
    waiting = " or ".join(filter(None, (captioning.unanswered, unscored(heads))))
    recipes = {"ingest": reading, "caption": captioning, "likeness": alike}
    marks = {step: fingerprint(recipe) for step, recipe in recipes.items()}
    with stopping_jobs():
        ingested = run_step(
            "ingest",
            "ingest.job",
            {**spec, "recipe": to_dict(reading), "parallel": "ray"},
        )
        if is_released(lake, catalog, marks, where, waiting):
            captioned: dict[str, Any] = {"captioned": 0, "by_source": {}}
        else:
            captioned = run_step(
                "caption",
                "captioning.job",
                {
                    "recipe": to_dict(captioning),
                    "likeness": to_dict(alike),
                    "parallel": settings.caption_parallel,
                },
            )
            for act in keep_up(lake):
                log.info("%s", act)
    release, created = create_release(
        lake, catalog, fingerprints=marks, name=release_name, where=where
    )
    old = get_release(catalog, release.previous) if release.previous else None
    refresh_report.publish(lake, ingested, captioned, release, old, created=created)
    if not retry:
        Variable.set(LAST, {"uri": uri, "where": where}, overwrite=True)
    message = refresh_report.summary(ingested, release, created=created)
    log.info("%s", message)
    if created:
        announce(release, changed_share(lake, old, release))
    return Completed(
        message=message,
        data={
            "release": release.name,
            "created": created,
            "funnel": ingested["funnel"],
            "captions": captioned["by_source"],
            "counts": dict(release.counts),
            **{name: ingested[name] for name in ("retried", "mended") if retry},
        },
    )


def footage(uri: str, where: str) -> tuple[str, str]:
    """URI and filter as given, or those of the last refresh when there is no URI.

    Raises:
        InputError: nothing was refreshed before, or a relative path: a run has a folder of its own.
    """
    if not uri:
        uri, kept = last_footage()
        where = where or kept
    if not uri:
        raise InputError("no footage was named, and there is none from last time; give a folder")
    if "://" not in uri and not Path(uri).is_absolute():
        raise InputError(f"{uri!r} is a relative path; give the absolute one")
    return uri, where


def last_footage() -> tuple[str, str]:
    """URI and filter of the last refresh; both empty before the first."""
    last: dict[str, Any] = dict(Variable.get(LAST, default={}) or {})
    return str(last.get("uri", "")), str(last.get("where", ""))


def is_released(
    lake: "Lake", catalog: Catalog, marks: dict[str, str], where: str, waiting: str = ""
) -> bool:
    """True when the newest release has the lake's content, these recipes and this filter.

    `waiting`: a condition of clips that a captioner failed or was not asked about, or that were
    scored with other weights; with any of these there is something to do.
    """
    from infra.releases import list_releases, view

    if waiting and lake.count("clips", view(waiting)):
        return False
    newest = list_releases(catalog)[-1:]
    return bool(
        newest
        and dict(newest[0].fingerprints) == marks
        and newest[0].where == where.strip()
        and newest[0].content_hash == lake.content_hash()
    )


def announce(release: "ReleaseInfo", changed: float) -> None:
    """Emit `reel.release.created`; its resource says whether much is new, for automations.

    `changed`: share of the release's seconds that came or went since the one before.
    """
    emit_event(
        RELEASE_CREATED,
        resource={
            "prefect.resource.id": f"reel.release.{release.name}",
            "prefect.resource.name": release.name,
            CHANGE: "large" if changed >= LARGE_CHANGE else "small",
        },
        payload={
            "release": release.name,
            "counts": dict(release.counts),
            "changed": round(changed, 4),
        },
    )


def changed_share(lake: "Lake", old: "ReleaseInfo | None", new: "ReleaseInfo") -> float:
    """Seconds that came or went from `old` to `new`, over those of `new`."""
    from infra.releases import difference

    seconds = difference(lake, old, new)["seconds"]
    return float((seconds["added"] + seconds["removed"]) / max(new.counts["seconds"], 1e-9))
