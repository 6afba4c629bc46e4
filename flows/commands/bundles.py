"""Bundles of workflows on this machine: unpacked, and what an earlier one left taken away."""

import hashlib
import json
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from infra.errors import InfrastructureError

MANIFEST = "manifest.json"


def inside(folder: Path, name: str) -> Path:
    """The file of that name in a bundle, below `folder`.

    Raises:
        InfrastructureError: the name leads out of it.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise InfrastructureError(f"the server names a file {name[:80]!r}, outside of the bundle")
    return folder / path


def unpack(archive: Path, out: Path) -> None:
    """The bundle's files in `out`, in place of an earlier bundle's and of its draft's.

    A file of an earlier bundle goes when it is as it was delivered; one that was changed stays.

    Raises:
        InfrastructureError: it is no archive.
    """
    before = dict(_told(out / MANIFEST))
    try:
        with zipfile.ZipFile(archive) as bundle:
            names = set(bundle.namelist())
            bundle.extractall(out)
    except zipfile.BadZipFile as error:
        raise InfrastructureError(f"the bundle came broken: {error}; run this again") from error
    _remove(out, ((name, digest) for name, digest in before.items() if name not in names))
    if (out / "draft").is_dir():
        _remove(out / "draft", _told(out / "draft" / MANIFEST))
        (out / "draft" / MANIFEST).unlink(missing_ok=True)
        _remove_empty(out / "draft", out)


def _told(manifest: Path) -> Iterator[tuple[str, str]]:
    """(name, SHA-256) of what a manifest of ours names; nothing when there is none."""
    try:
        found = json.loads(manifest.read_text(encoding="utf-8"))
        for entry in (*found["files"], *found["takes"]):
            yield str(entry["name"]), str(entry["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return


def _remove(folder: Path, told: Iterable[tuple[str, str]]) -> None:
    for name, digest in told:
        path = inside(folder, name)
        if not path.is_file() or path.is_symlink():
            continue
        with path.open("rb") as file:
            same = hashlib.file_digest(file, "sha256").hexdigest() == digest
        if same:
            path.unlink()
            _remove_empty(path.parent, folder)


def _remove_empty(path: Path, top: Path) -> None:
    """Remove folders that are empty now, up to `top`, which stays."""
    while path != top and path.is_dir() and not any(path.iterdir()):
        path.rmdir()
        path = path.parent
