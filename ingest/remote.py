"""Films that lie elsewhere: any file system that fsspec knows, such as s3://, gs:// and http(s)://.

https://filesystem-spec.readthedocs.io; the packages for particular stores are the user's choice.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import fsspec
from fsspec.callbacks import Callback
from fsspec.implementations.local import LocalFileSystem
from fsspec.registry import known_implementations

from infra.errors import InfrastructureError, InputError, NotFoundError
from ingest.found import EXTENSIONS, Found
from ingest.sidecars import SUFFIXES

CONNECT_S, SILENCE_S = 30, 60
# By which stores mark a version, the surest first.
MARKS = ("ETag", "etag", "md5Hash", "LastModified", "Last-Modified", "last_modified", "mtime",
         "modified", "updated", "created")  # fmt: skip


def find_films(uri: str) -> list[Found]:
    """All films below a prefix, or the one file, with the caption files beside them.

    Raises:
        NotFoundError, InputError, InfrastructureError: as `ingest.sources.find_films`.
    """
    fs, root = _open(uri)
    if _is_web(uri):
        if PurePosixPath(urlsplit(uri).path).suffix.lower() not in EXTENSIONS:
            raise InputError(
                f"a web folder cannot be listed: {uri}; give the address of a film, or of a "
                "manifest (CSV, JSONL, Parquet) that names films"
            )
        film = look_up(uri)
        if film.problem:
            raise NotFoundError(f"there is no film at {uri} ({film.problem})")
        return [film]
    with _clear_errors(uri):
        fs.invalidate_cache()
        info = fs.info(root)
        single = info["type"] == "file"
        listed = {info["name"]: info} if single else fs.find(root, detail=True)
    films = list(_films(fs, info["name"], listed))
    if not films:
        known = " ".join(sorted(extension[1:] for extension in EXTENSIONS))
        raise InputError(f"{uri} holds no video file; put films in it (files that end in {known})")
    return films


def look_up(uri: str) -> Found:
    """The file at `uri` as it is now; with a problem when it cannot be reached.

    Raises:
        InputError: a file system that we do not have.
    """
    fs, path = _open(uri)
    uri = fs.unstrip_protocol(path)
    try:
        fs.invalidate_cache(path)
        info = fs.info(path)
    except Exception as error:  # every store has its own
        return Found(uri=uri, problem=f"the file cannot be reached: {_words(error)}")
    if info["type"] != "file":
        return Found(uri=uri, problem="it is not a file; name each film")
    return _found(uri, info)


def whole(uri: str) -> str:
    """The URI in the form in which its store lists it."""
    fs, path = _open(uri)
    return str(fs.unstrip_protocol(path))


def is_there(uri: str) -> bool:
    """Whether the file exists; True when its store does not say."""
    try:
        fs, path = _open(uri)
        return bool(fs.exists(path))
    except Exception:
        return True


def read(uri: str) -> bytes:
    """The whole of a small file.

    Raises:
        NotFoundError, InputError, InfrastructureError: it is not there, or cannot be read.
    """
    fs, path = _open(uri)
    with _clear_errors(uri):
        fs.invalidate_cache(path)
        data: bytes = fs.cat_file(path)
    return data


def download(uri: str, to: Path, callback: Callback) -> None:
    """Copy the file to `to`; `callback` hears of every piece and may raise to stop it.

    Raises:
        Exception: whatever the store's own package raises.
    """
    fs, path = _open(uri)
    fs.get_file(path, str(to), callback=callback)


def _open(uri: str) -> tuple[Any, str]:
    """The file system of a URI, and the path in it."""
    scheme = urlsplit(uri).scheme
    if urlsplit(uri).password:
        raise InputError(
            f"the {scheme}:// URI holds a password, which would be stored with every clip; "
            "give it to the store's own settings instead"
        )
    if "::" in uri:
        raise InputError(f"footage at {uri!r} lies inside another file; unpack it first")
    options: dict[str, Any] = {}
    if _is_web(uri):
        import aiohttp

        # Its own limit is 5 minutes for a whole file, however well that flows.
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=SILENCE_S)
        options["client_kwargs"] = {"timeout": timeout}
    try:
        fs, path = fsspec.core.url_to_fs(uri, **options)
    except ImportError as error:
        raise InputError(f"footage at {uri!r} needs a package: {_package(scheme)}") from error
    except ValueError as error:
        raise InputError(
            f"footage at {uri!r} cannot be read: {error}; give a local folder, or a URI such as "
            "file://, s3://, gs://, https://"
        ) from error
    if isinstance(fs, LocalFileSystem):
        # What is local is looked at by other rules, and a manifest from elsewhere may not name it.
        raise InputError(f"{uri!r} is a file of this machine; write it as a path or file:// URI")
    return fs, path


def _package(scheme: str) -> str:
    known = known_implementations[scheme]
    name = known["class"].split(".")[0]
    return str(known.get("err", scheme)) if name == "fsspec" else f"pip install {name}"


@contextmanager
def _clear_errors(uri: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise NotFoundError(f"nothing is at {uri} ({_words(error)})") from error
    except PermissionError as error:
        raise InputError(f"{uri} may not be read: {_words(error)}") from error
    except Exception as error:
        raise InfrastructureError(f"{uri} cannot be read: {_words(error)}") from error


def _films(fs: Any, root: str, listed: Mapping[str, Mapping[str, Any]]) -> Iterator[Found]:
    for name, info in listed.items():
        below = PurePosixPath(name[len(root) :] if name != root else PurePosixPath(name).name)
        if any(part.startswith(".") for part in below.parts):
            continue
        path = PurePosixPath(name)
        if path.suffix.lower() in EXTENSIONS and info["type"] == "file":
            beside = (str(path.with_suffix(suffix)) for suffix in SUFFIXES)
            captions = next((other for other in beside if other in listed), None)
            yield _found(
                fs.unstrip_protocol(name),
                info,
                _found(fs.unstrip_protocol(captions), listed[captions]) if captions else None,
            )


def _found(uri: str, info: Mapping[str, Any], captions: Found | None = None) -> Found:
    mark = next((info[name] for name in MARKS if info.get(name)), "")
    # One store gives the same time as a datetime or as a number, by the way of asking.
    mark = mark.timestamp() if isinstance(mark, datetime) else mark
    return Found(uri=uri, size_bytes=info.get("size") or 0, etag=str(mark), captions=captions)


def _is_web(uri: str) -> bool:
    return urlsplit(uri).scheme in ("http", "https")


def _words(error: BaseException) -> str:
    """fsspec reports every failure on the web as a missing file, and hides the cause."""
    cause = error.__cause__ or error
    return str(cause) or type(cause).__name__
