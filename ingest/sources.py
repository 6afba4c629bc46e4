"""Footage: which films a folder, a URI or a manifest names, and what content a file holds.

find_films("/films")  # a folder, or one film
find_films("s3://bucket/films")  # any file system that fsspec knows
find_films("/films/manifest.csv")  # CSV, JSONL or Parquet: uri, licence, caption, tags
"""

import hashlib
import os
import posixpath
import stat
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote_to_bytes, urljoin, urlsplit

from infra.errors import InputError, NotFoundError
from ingest import remote
from ingest.found import EXTENSIONS, Found
from ingest.manifest import Entry, is_manifest, read_manifest
from ingest.sidecars import SUFFIXES

CHUNK_BYTES = 1 << 20
OUTSIDE = "a link that leads out of the folder is not followed"
LOOKUPS_AT_ONCE = 16  # at a store far away each one is a wait, not work


def find_films(uri: str) -> list[Found]:
    """All films below a folder or prefix, or the one file, or all that a manifest names; by URI.

    Hidden names in a folder are skipped. What looks like a film and cannot be one comes back with
    a `problem`: a link that leads out of the folder, a pipe (which would never end), a folder that
    may not be read, a manifest's row that names nothing.

    Raises:
        NotFoundError: nothing is there.
        InputError: no film is in it, or a file system that we do not have, or a wrong manifest.
        InfrastructureError: the store does not answer.
    """
    if _names_films(uri):
        films = _from_manifest(uri)
    elif is_local(uri):
        films = _from_folder(local_path(uri))
    else:
        films = remote.find_films(uri)
    return sorted(films, key=lambda film: film.uri)


def find_again(uris: Iterable[str]) -> list[Found]:
    """The files with these URIs, as they are now; with a problem when one cannot be reached."""
    with ThreadPoolExecutor(LOOKUPS_AT_ONCE) as pool:
        return list(pool.map(_look_up, uris))


def scope(uri: str) -> str:
    """How the URIs of everything begin that `find_films(uri)` would find or complain about."""
    if _names_films(uri):
        return f"{_whole(uri)}#"
    if is_local(uri) and not local_path(uri).is_dir():
        return _whole(uri)
    return f"{_whole(uri).rstrip('/')}/"


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
    """Whether the file of a source row still exists; True when its store does not say."""
    return local_path(uri).is_file() if is_local(uri) else remote.is_there(uri)


def is_link(uri: str) -> bool:
    """Whether a source row's file is a symbolic link on this machine."""
    return is_local(uri) and local_path(uri).is_symlink()


def is_local(uri: str) -> bool:
    """Whether this is a path, or a file:// URI."""
    return "://" not in uri or urlsplit(uri).scheme == "file"


def local_path(uri: str) -> Path:
    """The absolute path of a local URI or path."""
    if "://" in uri:
        # Names need not be UTF-8, so the bytes are what counts.
        return Path(os.fsdecode(unquote_to_bytes(urlsplit(uri).path)))
    return Path(uri).expanduser().absolute()


def _names_films(uri: str) -> bool:
    return is_manifest(uri) and not (is_local(uri) and local_path(uri).is_dir())


def _whole(uri: str) -> str:
    return local_path(uri).resolve().as_uri() if is_local(uri) else remote.whole(uri)


def _from_folder(root: Path) -> list[Found]:
    if not root.exists():
        raise NotFoundError(f"there is no folder or file {root}; give the place of your footage")
    root = root.resolve()
    if root.is_file():
        films = [film] if (film := _in_folder(root, root.parent)) else []
    else:
        films = list(_walk(root))
    if not films:
        known = " ".join(sorted(extension[1:] for extension in EXTENSIONS))
        what = "is empty" if root.is_dir() and not any(root.iterdir()) else "holds no video file"
        raise InputError(f"{root} {what}; put films in it (files that end in {known})")
    return films


def _walk(root: Path) -> Iterator[Found]:
    closed = list[OSError]()
    for folder, folders, names in os.walk(root, onerror=closed.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for path in (Path(folder, name) for name in folders):  # walk does not enter linked ones
            if path.is_symlink() and not _is_inside(path, root):
                yield Found(uri=path.as_uri(), problem=OUTSIDE)
        for name in names:
            if not name.startswith(".") and (film := _in_folder(Path(folder, name), root)):
                yield film
    for error in closed:
        uri = Path(error.filename).as_uri()
        yield Found(uri=uri, problem=f"the folder cannot be read: {error.strerror}")


def _in_folder(path: Path, root: Path) -> Found | None:
    if path.suffix.lower() not in EXTENSIONS:
        return None
    if path.is_symlink() and not _is_inside(path, root):
        return Found(uri=path.as_uri(), problem=OUTSIDE)
    return _local_film(path, root)


def _is_inside(path: Path, root: Path) -> bool:
    """A link may point at another film of the folder, never outside it."""
    return Path(os.path.realpath(path)).is_relative_to(root)


def _local_film(path: Path, root: Path | None = None) -> Found:
    """The film and the caption file beside it, which may lie anywhere in `root` (by default the
    film's own folder): a link to another place would bring its words into the lake."""
    try:
        facts = path.stat()
    except FileNotFoundError:
        return Found(uri=path.as_uri(), problem="there is no such file")
    except OSError as error:
        return Found(uri=path.as_uri(), problem=f"the file cannot be looked at: {error.strerror}")
    if not stat.S_ISREG(facts.st_mode):
        return Found(uri=path.as_uri(), problem="it is not a file; name each film")
    candidates = (path.with_suffix(suffix) for suffix in SUFFIXES)
    beside = next((candidate for candidate in candidates if candidate.is_file()), None)
    if beside is None:
        captions = None
    elif beside.is_symlink() and not _is_inside(beside, root or path.parent.resolve()):
        captions = Found(uri=beside.as_uri(), problem=OUTSIDE)
    else:
        captions = Found(uri=beside.as_uri(), path=beside)
    return Found(
        uri=path.as_uri(),
        path=path,
        size_bytes=facts.st_size,
        mtime_ns=facts.st_mtime_ns,
        captions=captions,
    )


def _look_up(uri: str) -> Found:
    return _local_film(local_path(uri)) if is_local(uri) else remote.look_up(uri)


def _from_manifest(uri: str) -> list[Found]:
    """What each row names; rows that name nothing, or the same again, have a problem."""
    whole = _whole(uri)
    try:
        data = local_path(uri).read_bytes() if is_local(uri) else remote.read(uri)
    except FileNotFoundError:
        raise NotFoundError(f"there is no manifest {uri}; give the place of your footage") from None
    except OSError as error:
        raise InputError(f"the manifest {uri} cannot be read: {error.strerror}") from error
    entries = read_manifest(uri, data)
    films, first_row = [], dict[str, int]()
    with ThreadPoolExecutor(LOOKUPS_AT_ONCE) as pool:
        for entry, film in zip(
            entries, pool.map(lambda entry: _named(entry, whole), entries), strict=True
        ):
            if film.uri in first_row:
                again = f"row {entry.row} names {entry.uri} again, after row {first_row[film.uri]}"
                film = Found(uri=f"{whole}#row-{entry.row}", problem=again)
            first_row[film.uri] = entry.row
            films.append(film)
    return films


def _named(entry: Entry, manifest: str) -> Found:
    """The film of one row of a manifest; a problem goes by the row's own name, so that it is
    known again, and gone with the row, and never stands in the place of a film that we hold."""
    try:
        if entry.problem:
            raise InputError(entry.problem)
        found = _look_up(_joined(entry.uri, manifest))
        if found.problem:
            raise InputError(f"{entry.uri}: {found.problem}")
    except (InputError, ValueError) as error:  # a name with a NUL, or file:// without a path
        return Found(uri=f"{manifest}#row-{entry.row}", problem=f"row {entry.row}: {error}")
    return replace(found, given=entry.given)


def _joined(name: str, manifest: str) -> str:
    """`name` as a whole URI; a relative one starts where the manifest is.

    Raises:
        InputError: a manifest from elsewhere names a file of this machine.
    """
    if is_local(manifest):
        if "://" in name:
            return name
        return Path(os.path.normpath(local_path(manifest).parent / name)).as_uri()
    if is_local(name) and ("://" in name or name.startswith("/")):
        raise InputError(f"{name!r} is a file of this machine, which only a local manifest may use")
    if "://" in name:
        return name
    if urlsplit(manifest).scheme in ("http", "https"):
        return urljoin(manifest, name)
    scheme, path = manifest.split("://", 1)
    return f"{scheme}://{posixpath.normpath(posixpath.join(posixpath.dirname(path), name))}"
