"""Footage on disk: which files there are, and what content they hold."""

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from infra.errors import InputError, NotFoundError
from ingest.sidecars import SUFFIXES

EXTENSIONS = frozenset(
    f".{name}" for name in ("mp4", "mov", "mkv", "webm", "m4v", "avi", "mpg", "ts")
)
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Found:
    """A film on disk, and the caption file beside it."""

    uri: str
    path: Path
    size_bytes: int
    mtime_ns: int
    captions: Path | None

    def facts(self) -> dict[str, Any]:
        """The part of a source row that only the file system knows."""
        return {"uri": self.uri, "size_bytes": self.size_bytes, "mtime_ns": self.mtime_ns}


def find_films(uri: str) -> list[Found]:
    """All films below a folder (or the one file), sorted by URI.

    Hidden names are skipped, links that lead out of the folder are not followed, and only regular
    files count: a pipe or a device with a film's name would never end.

    Raises:
        NotFoundError: nothing is there. InputError: no film is in it, or another kind of URI.
    """
    root = _local(uri)
    if not root.exists():
        raise NotFoundError(f"there is no folder or file {root}; give the place of your footage")
    root = root.resolve()
    if root.is_file():
        films = [film] if (film := _found(root, root.parent)) else []
    else:
        films = sorted(_walk(root), key=lambda film: film.uri)
    if not films:
        known = " ".join(sorted(extension[1:] for extension in EXTENSIONS))
        what = "is empty" if root.is_dir() and not any(root.iterdir()) else "holds no video file"
        raise InputError(f"{root} {what}; put films in it (files that end in {known})")
    return films


def content_id(path: Path) -> str:
    """SHA-256 of the file's bytes, 64 hex digits, read in pieces.

    Raises:
        OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as handle:
        while chunk := handle.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def is_there(uri: str) -> bool:
    """Whether the file of a source row still exists."""
    return _local(uri).is_file()


def _local(uri: str) -> Path:
    scheme = urlsplit(uri).scheme if "://" in uri else ""
    if scheme == "file":
        return Path(unquote(urlsplit(uri).path))
    if scheme:
        raise InputError(f"footage at {uri!r} cannot be read; give a local folder or a file:// URI")
    return Path(uri).expanduser().absolute()


def _walk(root: Path) -> Iterator[Found]:
    for folder, folders, names in os.walk(root):  # does not enter linked folders
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            if not name.startswith(".") and (film := _found(Path(folder, name), root)):
                yield film


def _found(path: Path, root: Path) -> Found | None:
    if path.suffix.lower() not in EXTENSIONS:
        return None
    try:
        # A link may point at another film of the folder, never outside it.
        if path.is_symlink() and not path.resolve(strict=True).is_relative_to(root):
            return None
        facts = path.stat()
    except OSError:
        return None
    if not stat.S_ISREG(facts.st_mode):
        return None
    return Found(
        uri=path.as_uri(),
        path=path,
        size_bytes=facts.st_size,
        mtime_ns=facts.st_mtime_ns,
        captions=_captions(path),
    )


def _captions(path: Path) -> Path | None:
    beside = (path.with_suffix(suffix) for suffix in SUFFIXES)
    return next((candidate for candidate in beside if candidate.is_file()), None)
