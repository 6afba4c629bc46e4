"""`reel lineage FILE`: from a generated file back to its job, its model and the films behind it."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from infra.errors import InputError, NotFoundError
from infra.settings import Settings

if TYPE_CHECKING:
    from infra.catalog import Catalog
    from infra.lineage import Lineage

Row = dict[str, Any]

MAX_PARENTS = 100
SIGNATURES = {
    "here": "whole, signed here by {signer}",
    "elsewhere": "whole, but signed by {signer}, which this home does not know: nothing proves it",
    "changed": "THE FILE WAS CHANGED AFTER IT WAS SIGNED ({problems}): do not rely on what follows",
    "none": "none: it was removed, or there never was one; what follows rests on {basis}",
}


def trace_file(settings: Settings, catalog: "Catalog", lineage: "Lineage", path: Path) -> Row:
    """What is known of a generated file, by its signature, its plain id or its very bytes.

    Raises:
        NotFoundError: nothing leads from the file to a job of this home.
    """
    from serving.certificates import anchors
    from serving.inspection import inspect

    try:
        seen = inspect(path, anchors(settings))
        with path.open("rb") as handle:
            sha256 = hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{str(path)!r} cannot be read: {error.strerror}") from error
    by_bytes = _job_of_bytes(catalog, sha256)
    job_id = by_bytes or seen.job_id
    if job_id is None:
        raise NotFoundError(
            f"{str(path)!r} carries no provenance of ours, and no job here made these bytes"
        )
    jobs = _jobs(catalog, job_id)
    parts = seen.claims.get("made_from", "").split()[:MAX_PARENTS]
    version = (jobs[0]["model_version"] if jobs else "") or seen.claims.get("model_version", "")
    return {
        "file": str(path),
        "sha256": sha256,
        "delivered": by_bytes is not None,
        "signature": seen.signature,
        "problems": seen.problems,
        "signer": seen.signer,
        "edited_by": seen.edited_by,
        "claims": seen.claims,
        "plain_id": seen.plain_id,
        "job_id": job_id,
        "job": jobs[0] if jobs else None,
        "parents": jobs[1:],
        "made_from": [job for part in parts for job in _jobs(catalog, part)[:1]],
        "contradictions": _contradictions(seen.claims, seen.plain_id, job_id, jobs),
        **_model(settings, lineage, version, seen.claims.get("release", "")),
    }


def _job_of_bytes(catalog: "Catalog", sha256: str) -> str | None:
    from infra.catalog_models import Artifact

    with catalog.session(read_only=True) as session:
        found = session.scalars(select(Artifact.job_id).where(Artifact.sha256 == sha256)).first()
    return found


def _jobs(catalog: "Catalog", job_id: str) -> list[Row]:
    """The job, its parent, the parent's parent; as far back as the catalog remembers."""
    from infra.catalog_models import GenerationJob

    jobs: list[Row] = []
    wanted: str | None = job_id
    with catalog.session(read_only=True) as session:
        while wanted and len(jobs) < MAX_PARENTS:
            job = session.get(GenerationJob, wanted)
            if job is None:
                break
            jobs.append(
                {
                    "id": job.id,
                    "kind": job.kind,
                    "created_at": job.created_at.isoformat(timespec="seconds"),
                    "prompt": job.prompt,
                    "seed": job.params.get("seed"),
                    "model_version": job.model_version,
                    "parent": job.parent_id,
                    "trace_id": job.params.get("traceparent", "")[3:35],
                }
            )
            wanted = job.parent_id
    return jobs


def _contradictions(claims: Row, plain: str | None, job_id: str, jobs: list[Row]) -> list[str]:
    said = []
    if claims.get("job") and plain and claims["job"] != plain:
        said.append(f"its signature names job {claims['job']}, its metadata {plain}")
    for name in filter(None, (claims.get("job"), plain)):
        if name != job_id:
            said.append(f"it names job {name}, and its bytes are those of job {job_id}")
    version = claims.get("model_version")
    if jobs and version and jobs[0]["model_version"] != version:
        said.append(f"it names version {version}, its job version {jobs[0]['model_version']}")
    return said


def _model(settings: Settings, lineage: "Lineage", version: str, release: str) -> Row:
    """The model version, its run and release, and the films and clips of that release."""
    from serving.origin import read_origin

    origin = read_origin(settings.home, version)
    row: Row = {"run": origin.run_id, "release": None, "sources": [], "clips": {}}
    registered = next((v for v in lineage.versions or [] if v.version == version), None)
    name = origin.release or release
    if registered is not None:
        row["run"] = registered.run_id
        name = registered.tags.get("release", name)
    known = next((entry for entry in lineage.releases if entry.name == name), None)
    if known is not None:
        found = lineage.release(known)
        row |= {"release": found["release"], "sources": found["sources"]}
        row |= {"clips": lineage.clip_ids(known), "withdrawn": found["withdrawn"]}
    return row | {"model_version": version, "release_name": name}


def describe_file(found: Row) -> Iterator[str]:
    """The lines that a person reads."""
    basis = "its very bytes, which a job here made" if found["delivered"] else (
        "its plain id, which anybody can write"
    )  # fmt: skip
    yield f"file {found['file']}"
    problems = ", ".join(found["problems"]) or "its signature does not hold"
    text = SIGNATURES[found["signature"]]
    yield "  signature " + text.format(signer=found["signer"], problems=problems, basis=basis)
    if found["edited_by"]:
        yield f"  edited    and signed again by {found['edited_by']}"
    for contradiction in found["contradictions"]:
        yield f"  BUT       {contradiction}"
    same = "byte for byte what was delivered" if found["delivered"] else "not the delivered file"
    yield f"  bytes     {same}"
    yield from _jobs_lines(found)
    yield from _model_lines(found)


def _jobs_lines(found: Row) -> Iterator[str]:
    job = found["job"]
    for part in found["made_from"]:
        of = f"{part['kind']}, seed {part['seed']}: {part['prompt'][:80]}"
        yield f"  made from {part['id']}, {of}"
    if job is None:
        known = "put together from these" if found["made_from"] else "deleted or of another home"
        yield f"  job       {found['job_id']}, which is {known}"
        return
    yield f"  job       {job['id']}, {job['kind']}, {job['created_at']}, seed {job['seed']}"
    yield f"            {job['prompt'][:200]}"
    for parent in found["parents"]:
        yield f"  from      {parent['id']}, {parent['kind']}, seed {parent['seed']}"


def _model_lines(found: Row) -> Iterator[str]:
    from flows.artifacts import readable

    yield f"  model     version {found['model_version'] or '(not known)'}"
    if found["run"]:
        yield f"  run       {found['run']}"
    if found["release"] is None:
        yield f"  release   {found['release_name'] or '(not known)'}, not in this home's catalog"
        return
    train = len(found["clips"]["train"])
    yield (
        f"  release   {found['release_name']}: learned from {train} clips of "
        f"{len(found['sources'])} films (--json lists the clips)"
    )
    for row in found["sources"][:20]:
        licence = f"  {row['licence']}" if row["licence"] else ""
        place = readable(row["uri"])
        yield f"            {row['clips']:>4} clips of {row['source_id'][:16]}  {place}{licence}"
    for row in found["withdrawn"]:
        yield f"  withdrawn {row['at'][:10]} source {row['source_id'][:16]}"
