"""What a model version was trained on, in few words: for provenance and for users who ask."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.catalog import Catalog
from infra.errors import ReelError
from infra.job_files import read_json, write_json
from infra.releases import get_release
from infra.settings import Settings

if TYPE_CHECKING:
    from infra.lake import Lake

log = logging.getLogger(__name__)


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


def trained_on(home: Path, version: str) -> dict[str, Any]:
    """What `record_training` found out; all but what the bundle says is None where it did not run.

    {release, training_clips, mlflow_run_id, made_at, films, clips, hours, licences: {name: films}}:
    `clips` are all of the release's view, `training_clips` those that the weights have seen.
    """
    origin = read_origin(home, version)
    known: dict[str, Any] = {
        "release": origin.release or None,
        "training_clips": origin.training_clips,
        "mlflow_run_id": origin.run_id or None,
        **dict.fromkeys(("made_at", "films", "clips", "hours", "licences")),
    }
    recorded = read_json(_record(home, version)) if version.isdecimal() else None
    return known | (recorded or {})


def record_training(settings: Settings, version: str) -> None:
    """Note beside a fetched bundle what its release holds, for servers that do without the lake."""
    from infra.lake import Lake  # takes half a second

    origin = read_origin(settings.home, version)
    try:
        release = get_release(Catalog(settings.catalog_url), origin.release)
        licences = _licences(Lake(settings.lake_uri), release.name)
    except (ReelError, OSError, ValueError) as error:  # the release was made elsewhere
        log.info("version %s: its release %r is not here: %s", version, origin.release, error)
        return
    facts = {
        "made_at": int(release.created_at.timestamp()),
        "films": int(release.counts["sources"]),
        "clips": int(release.counts["clips"]),
        "hours": round(release.counts["seconds"] / 3600, 4),
        "licences": licences,
    }
    write_json(_record(settings.home, version), facts)


def _record(home: Path, version: str) -> Path:
    return home / "models" / f"{version}-training.json"


def _licences(lake: "Lake", release: str) -> dict[str, int]:
    """Accepted films by licence; "" are those of which none is known."""
    found: dict[str, int] = {}
    rows = lake.read("sources", ["licence"], "status = 'accepted'", release)["licence"].to_pylist()
    for licence in rows:
        found[licence or ""] = found.get(licence or "", 0) + 1
    return dict(sorted(found.items(), key=lambda entry: (-entry[1], entry[0])))
