"""What a model version was trained on, in few words: for provenance and for users who ask."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.catalog import Catalog
from infra.errors import ReelError
from infra.job_files import read_json
from infra.lake import Lake
from infra.releases import get_release
from infra.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What the bundle of a version says; empty where it says nothing."""

    version: str
    run_id: str = ""
    release: str = ""
    recipe: str = ""
    training_clips: int | None = None


def read_origin(home: Path, version: str) -> Origin:
    """From the manifest of the version's bundle, if it was fetched to this machine."""
    manifest: dict[str, Any] = {}
    if version.isdecimal():
        manifest = read_json(home / "models" / version / "manifest.json") or {}
    return Origin(
        version=version,
        run_id=str(manifest.get("mlflow_run_id", "")),
        release=str(manifest.get("release", "")),
        recipe=str(manifest.get("recipe_hash", "")),
        training_clips=manifest.get("training_clips"),
    )


def trained_on(settings: Settings, version: str) -> dict[str, Any]:
    """{release, made_at, films, clips, hours, licences: {licence: films}, training_clips}.

    `clips` are all of the release's view, `training_clips` those that the weights have seen. What
    cannot be known (no bundle here, a release that was made elsewhere) is None.
    """
    origin = read_origin(settings.home, version)
    known: dict[str, Any] = {
        "release": origin.release or None,
        "training_clips": origin.training_clips,
        "mlflow_run_id": origin.run_id or None,
    }
    nothing = dict.fromkeys(("made_at", "films", "clips", "hours", "licences"))
    if not origin.release:
        return known | nothing
    try:
        release = get_release(Catalog(settings.catalog_url), origin.release)
        licences = _licences(Lake(settings.lake_uri), origin.release)
    except (ReelError, OSError, ValueError):  # a server without the lake still serves
        return known | nothing
    return known | {
        "made_at": int(release.created_at.timestamp()),
        "films": int(release.counts["sources"]),
        "clips": int(release.counts["clips"]),
        "hours": round(release.counts["seconds"] / 3600, 3),
        "licences": licences,
    }


def _licences(lake: Lake, release: str) -> dict[str, int]:
    """Accepted films by licence; "" are those of which none is known."""
    found: dict[str, int] = {}
    rows = lake.read("sources", ["licence"], "status = 'accepted'", release)["licence"].to_pylist()
    for licence in rows:
        found[licence or ""] = found.get(licence or "", 0) + 1
    return dict(sorted(found.items(), key=lambda entry: (-entry[1], entry[0])))
