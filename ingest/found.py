"""A film as its place of storage shows it, before anyone has opened it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

EXTENSIONS = frozenset(
    f".{name}" for name in ("mp4", "mov", "mkv", "webm", "m4v", "avi", "mpg", "ts")
)


@dataclass(frozen=True, kw_only=True)
class Found:
    """A film, or the caption file beside one.

    `path` is None until a file from elsewhere was fetched. `etag` is what its store marks a version
    by (a local file has its time instead). `given` is what a manifest says of it: any of licence,
    caption, tags. A `problem` says in one sentence why it cannot even be opened.
    """

    uri: str
    path: Path | None = None
    size_bytes: int = 0
    mtime_ns: int = 0
    etag: str = ""
    captions: "Found | None" = None
    given: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""

    def facts(self) -> dict[str, Any]:
        """The part of a source row that only the place of storage knows."""
        return {
            "uri": self.uri,
            "size_bytes": self.size_bytes,
            "mtime_ns": self.mtime_ns,
            "etag": self.etag or None,
        }

    def is_version(self, row: Mapping[str, Any]) -> bool:
        """Whether a source row was made from the file as it is now; False when nothing tells."""
        if not (self.etag or self.mtime_ns):
            return False
        facts = self.facts()
        return all(row[name] == facts[name] for name in ("size_bytes", "mtime_ns", "etag"))
