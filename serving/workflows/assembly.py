"""Files from finished takes, in a process of its own: `… -m serving.workflows.assembly FOLDER`.

FOLDER is a workflow's, with `order.json`: what to make, of which takes. A folder `files-{revision}`
and a `bundle-{revision}.zip` appear beside it, each whole or not at all, and `made-{revision}.json`
last, so a run that was killed is simply repeated. Exit status: 0 done, 2 the input cannot be used
and the message is on stderr.
"""

import fcntl
import hashlib
import json
import mimetypes
import shutil
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from infra.errors import InputError
from infra.job_files import write_json
from serving.workflows.deliverable import Seal, Take, Takes, find_kind
from serving.workflows.plan import Plan, read_plan

MANIFEST = "manifest.json"
# One date for all entries: equal contents give equal archives.
ZIP_DATE = (1980, 1, 1, 0, 0, 0)
COMPRESSED = {".mp4", ".png", ".zip", ".webp", ".jpeg", ".jpg", ".pdf"}
MEDIA_TYPES = {
    ".otio": "application/json", ".edl": "text/plain", ".fcpxml": "application/xml",
    ".vtt": "text/vtt", ".tres": "text/plain", ".meta": "text/plain", ".md": "text/markdown",
    ".csv": "text/csv", ".json": "application/json", ".webp": "image/webp",
}  # fmt: skip


def make_order(
    kind: str, plan: dict[str, Any], takes: list[dict[str, Any]], choices: dict[str, int],
    about: dict[str, Any], approved_by: str = "",
) -> dict[str, Any]:  # fmt: skip
    """What `assemble` is told; takes have the fields of `Take`, without `path`.

    about: provenance that goes into the manifest as it is.
    """
    return {
        "kind": kind, "plan": plan, "takes": takes, "choices": choices, "about": about,
        "approved_by": approved_by,
    }  # fmt: skip


def assemble(
    folder: Path,
    order: dict[str, Any],
    revision: int,
    seal: Seal = lambda _paths: None,
) -> dict[str, Any]:
    """Make the deliverable in a workflow's folder; returns {"files", "metrics", "notes"}.

    `seal` signs the files once they are whole.

    Raises:
        InputError: the takes cannot be made into it.
    """
    deliverable = find_kind(order["kind"])
    if deliverable is None:
        raise InputError(f"there is no kind of workflow {order['kind']!r}")
    plan = read_plan(deliverable.plan_model, order["plan"])
    takes: dict[str, list[Take]] = {}
    for fields in order["takes"]:
        take = Take(path=folder / fields["name"], **fields)
        takes.setdefault(take.shot, []).append(take)
    target = folder / f"files-{revision}"
    part = folder / f".files-{revision}"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    given = Takes(
        takes=takes,
        choices=order["choices"],
        assets=asset_paths(plan, folder),
        fonts=font_paths(plan, folder),
        approved_by=order["approved_by"],
        seal=seal,
    )
    findings = deliverable.files(plan, given, part)
    paths = [path for path in sorted(part.rglob("*")) if path.is_file()]
    seal(paths)
    files = [_described(path, part) for path in paths]
    made = {"files": files, "metrics": findings.metrics, "notes": findings.notes}
    write_json(part / MANIFEST, _manifest(order, made))
    made["files"] = [*files, _described(part / MANIFEST, part)]
    _bundle(folder, part, order["takes"], folder / f"bundle-{revision}.zip")
    shutil.rmtree(target, ignore_errors=True)
    part.replace(target)
    return made


def asset_paths(plan: Plan, folder: Path) -> dict[str, Path]:
    """Where the plan's pictures are in a workflow's folder."""
    return {name: folder / "assets" / f"{name}.png" for name in plan.assets}


def font_paths(plan: Plan, folder: Path) -> dict[str, Path]:
    """Where the plan's fonts are in a workflow's folder."""
    return {name: folder / "fonts" / f"{name}.font" for name in plan.fonts}


def _sealer(work_id: str, takes: list[dict[str, Any]], signing: dict[str, Any]) -> Seal:
    """What signs a work's files, each once, by the settings that the server wrote down for it."""
    from infra.settings import Settings
    from serving.provenance import Provenance

    provenance = Provenance(Settings(**signing))
    version = takes[0]["model_version"] if takes else ""
    jobs = [take["job_id"] for take in takes if take["job_id"]]
    signed: set[Path] = set()

    def seal(paths: Sequence[Path]) -> None:
        provenance.seal_work(work_id, version, jobs, [p for p in paths if p not in signed])
        signed.update(paths)

    return seal


def _described(path: Path, top: Path) -> dict[str, Any]:
    with path.open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    guessed = MEDIA_TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0]
    return {
        "name": path.relative_to(top).as_posix(),
        "media_type": guessed or "application/octet-stream",
        "bytes": path.stat().st_size,
        "sha256": digest,
    }


def _manifest(order: dict[str, Any], made: dict[str, Any]) -> dict[str, Any]:
    """Where everything comes from: each take's prompt, seed, model version and parent."""
    takes = [
        take | {"chosen": order["choices"].get(take["shot"]) == take["number"]}
        for take in order["takes"]
    ]
    return {
        "format": "reelwright.bundle/1",
        "generated_by": "a generative video model",
        **order["about"],
        "approved_by": order["approved_by"] or None,
        "kind": order["kind"],
        "plan": order["plan"],
        "takes": takes,
        **made,
    }


def _bundle(folder: Path, files: Path, takes: list[dict[str, Any]], target: Path) -> None:
    """A zip of the files, and of all takes, so that an editor can choose others."""
    entries = {path.relative_to(files).as_posix(): path for path in files.rglob("*")}
    entries |= {take["name"]: folder / take["name"] for take in takes}
    temporary = target.with_name(f".{target.name}")
    with zipfile.ZipFile(temporary, "w") as archive:
        for name, path in sorted(entries.items()):
            if not path.is_file():
                continue
            info = zipfile.ZipInfo(name, ZIP_DATE)
            stored = path.suffix in COMPRESSED
            info.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            with path.open("rb") as source, archive.open(info, "w") as entry:
                shutil.copyfileobj(source, entry)
    temporary.replace(target)


def main(argv: list[str]) -> int:
    folder = Path(argv[0])
    with (folder / "assembly.lock").open("w") as lock:
        # A server that was killed leaves its assembly running; two would write the same files.
        fcntl.flock(lock, fcntl.LOCK_EX)
        order = json.loads((folder / "order.json").read_text())
        revision, signing = order.pop("revision"), order.pop("signing")
        if (folder / f"made-{revision}.json").exists():
            return 0
        try:
            seal = _sealer(folder.name, order["takes"], signing)
            made = assemble(folder, order, revision, seal)
        except InputError as error:
            print(error, file=sys.stderr)
            return 2
        write_json(folder / f"made-{revision}.json", made)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
