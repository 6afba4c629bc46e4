"""Films from elsewhere, fetched whole into HOME/fetched before they are read, gone afterwards.

A fetched file is named after its URI and version, so a run that was killed does not fetch again
what it had. A version that a source row already knows is not fetched at all (`ingest.job`).
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from fsspec.callbacks import Callback

from infra.errors import JobCancelledError
from ingest import remote
from ingest.found import Found


class FetchError(Exception):
    """A film that could not be fetched; `words` are its store's own."""

    def __init__(self, reason: str, words: str = "") -> None:
        super().__init__(reason)
        self.reason, self.words = reason, words


class FilmCache:
    """Fetched files in `folder`, which take at most `limit_bytes`.

    `check` is called with every piece that arrives and raises JobCancelledError to stop.
    """

    def __init__(self, folder: Path, limit_bytes: int, check: Callable[[], None]) -> None:
        self.folder = folder
        self.limit_bytes = limit_bytes
        self._check = check

    def batches(self, films: Sequence[Found]) -> Iterator[list[Found]]:
        """The films in runs of which each fits the limit; local ones cost nothing, and come first.

        Room for a batch is made before it is given out.
        """
        batch, size = list[Found](), 0
        for film in sorted(films, key=lambda film: film.path is None):
            # A size that the store does not tell may be any, up to the limit.
            is_here = film.path is not None or bool(film.problem)
            cost = 0 if is_here else film.size_bytes or self.limit_bytes
            if batch and size + cost > self.limit_bytes:
                self._make_room(batch, size)
                yield batch
                batch, size = [], 0
            batch.append(film)
            size += cost
        if batch:
            self._make_room(batch, size)
            yield batch

    def fetch(self, film: Found) -> Found:
        """The film with a path on this machine.

        Raises:
            FetchError: it cannot be fetched, or is larger than the limit.
            JobCancelledError: by `check`.
        """
        if film.path is not None:
            return film
        place = self._place(film)
        if not (film.etag and place.exists()):
            self._download(film, place)
        return replace(film, path=place)

    def drop(self, films: Iterable[Found]) -> None:
        """Remove what was fetched for these films."""
        for film in films:
            if film.path is None:
                self._place(film).unlink(missing_ok=True)

    def _place(self, film: Found) -> Path:
        name = "\n".join((film.uri, film.etag, str(film.size_bytes)))
        suffix = PurePosixPath(urlsplit(film.uri).path).suffix.lower()
        return self.folder / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}{suffix}"

    def _download(self, film: Found, place: Path) -> None:
        if film.size_bytes > self.limit_bytes:
            raise FetchError(self._too_large())
        self.folder.mkdir(parents=True, exist_ok=True)
        part = place.with_name(f".{place.name}.{os.getpid()}")
        try:
            remote.download(film.uri, part, Callback(hooks={"watch": self._watch}))
            size = part.stat().st_size
            if film.size_bytes not in (0, size):
                raise FetchError(f"{size} of {film.size_bytes} bytes arrived")
            part.replace(place)
        except (FetchError, JobCancelledError):
            raise
        except _TooLargeError as error:
            raise FetchError(self._too_large()) from error
        except Exception as error:  # every store has its own
            words = f"{type(error).__name__}: {error}"
            raise FetchError("the film could not be fetched", words) from error
        finally:
            part.unlink(missing_ok=True)

    def _watch(self, size: int | None, value: int, **_rest: Any) -> None:
        """Called with every piece: stops what never ends, and a job that was asked to."""
        self._check()
        if value > self.limit_bytes:
            raise _TooLargeError

    def _too_large(self) -> str:
        limit = self.limit_bytes / 2**30
        return f"larger than the {limit:.3g} GiB that may be fetched at once (REEL_FETCH_GIB)"

    def _make_room(self, batch: Sequence[Found], size: int) -> None:
        """Remove what earlier runs left, the oldest first, until the batch fits beside it."""
        wanted = {self._place(film) for film in batch if film.path is None}
        if not wanted or not self.folder.is_dir():
            return
        left = [(path.stat(), path) for path in self.folder.iterdir() if path not in wanted]
        total = size + sum(facts.st_size for facts, _ in left)
        for facts, path in sorted(left, key=lambda entry: entry[0].st_mtime):
            if total > self.limit_bytes:
                path.unlink(missing_ok=True)
                total -= facts.st_size


class _TooLargeError(Exception):
    pass
