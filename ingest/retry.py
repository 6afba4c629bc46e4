"""What `reel retry` judges anew: everything in quarantine, wherever it lies."""

from pathlib import PurePosixPath

from infra.errors import NotFoundError
from infra.lake import Lake
from ingest.captions import STAGE as CAPTIONS
from ingest.found import Found
from ingest.ledger import Ledger
from ingest.sources import find_again, find_films, is_link, is_there

ROW = "#row-"  # in the name of a manifest's row that names no usable film
LISTED = "list"  # the stage of what a folder or a manifest names and nobody could open


class Retry:
    """The quarantine as it was before, and what became of it.

    `gone` are the files and rows that were there once and are no more; known after `films()`.
    """

    def __init__(self, lake: Lake, ledger: Ledger) -> None:
        rows = lake.read("quarantine", ["uri", "stage"]).to_pylist()
        self._lake, self._ledger = lake, ledger
        self._stages = {row["uri"]: row["stage"] for row in rows}
        self.gone: set[str] = set()
        self._mended_rows: set[str] = set()

    def films(self) -> list[Found]:
        """Its files that still exist, the manifests' rows among it as they are now, and the films
        that its caption files belong to. A link that was not followed is not followed now."""
        captions = {uri for uri, stage in self._stages.items() if stage == CAPTIONS}
        rows = {uri for uri in self._stages if ROW in uri}
        links = {uri for uri, stage in self._stages.items() if stage == LISTED and is_link(uri)}
        stems = {_stem(uri) for uri in captions}
        beside = {uri for uri in self._ledger.rows if _stem(uri) in stems}
        films = dict[str, Found]()
        for film in find_again(sorted(self._stages.keys() - captions - rows - links | beside)):
            was_there = self._stages.get(film.uri, LISTED) != LISTED
            if film.problem and was_there and not is_there(film.uri):
                self.gone.add(film.uri)
            elif was_there or not film.problem:
                films[film.uri] = film
        for manifest in sorted({uri.split(ROW)[0] for uri in rows}):
            own = {uri for uri in rows if uri.startswith(manifest + ROW)}
            try:
                named = find_films(manifest)
            except NotFoundError:
                self.gone |= own
                continue
            films |= {film.uri: film for film in named if not self.is_settled(film)}
            self._mended_rows |= own - films.keys()
        self.gone |= self._mended_rows
        return list(films.values())

    def is_settled(self, film: Found) -> bool:
        """Whether nothing about this film is in doubt."""
        return film.uri not in self._stages and self._ledger.is_known(film)

    def counts(self) -> dict[str, int]:
        """How many files were tried again, and how many of them are in quarantine no more."""
        left = set(self._lake.read("quarantine", ["uri"])["uri"].to_pylist())
        tried = self._stages.keys() - (self.gone - self._mended_rows)
        return {"retried": len(tried), "mended": len(tried - left)}


def _stem(uri: str) -> str:
    return str(PurePosixPath(uri).with_suffix(""))
