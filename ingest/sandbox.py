"""Reads films that may be hostile, each in a child process with limits.

    with Sandbox(spool) as sandbox:
        result = sandbox.read(path, source, recipe)

A film whose reader crashes, hangs or wants too much comes back quarantined with that as its
reason. `ingest.reader` is the other side.
"""

import base64
import json
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import ingest
from infra.errors import InfrastructureError
from infra.recipes import fingerprint, to_dict
from ingest.film import FilmResult, Row, quarantined
from ingest.recipe import IngestRecipe

ATTEMPTS = 3  # at a film whose reader was killed from outside
FROM_OUTSIDE = {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
ROOT = Path(ingest.__file__).parents[1]

FileState = tuple[int, int] | None


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What reading one film may take. Far more than any honest film needs."""

    memory_bytes: int = 4 << 30
    stall_s: float = 60.0
    """Seconds that the decoder may spend in one call."""
    base_s: float = 120.0
    bytes_per_s: float = 5_000.0
    """A film is given `base_s`, and a second more for so many bytes of it."""


class Sandbox:
    """One reader process, started when it is first needed; reads one film at a time."""

    def __init__(self, spool: Path, limits: Limits | None = None) -> None:
        self._spool = spool
        self._spool.mkdir(parents=True, exist_ok=True)
        self._limits = limits or Limits()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the reader process, and with it what it is reading."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def read(self, path: Path, source: Row, recipe: IngestRecipe) -> FilmResult:
        """The film's rows, and its clips in files below the spool folder; see `ingest_film`.

        Raises:
            InfrastructureError: not the film is at fault but the disk, or the reader's start.
        """
        wall_s = self._limits.base_s + source["size_bytes"] / self._limits.bytes_per_s
        request = {
            "path": str(path),
            "source": source,
            "recipe": to_dict(recipe),
            "limits": {
                "wall_s": wall_s,
                "stall_s": self._limits.stall_s,
                "memory_bytes": self._limits.memory_bytes,
            },
        }
        before = file_state(path)
        folder, reply = self._patient_ask(request)
        if reply["ended"] == "well":
            result = _result(reply["result"], folder)
        else:
            row = {**source, "recipe": fingerprint(recipe)}
            result = quarantined(row, "decode", self._verdict(reply, wall_s), "")
        if file_state(path) != before:
            result = changed(source, recipe)
        result.peak_bytes = reply.get("peak_bytes", 0)
        if result.stage:
            shutil.rmtree(folder, ignore_errors=True)
        return result

    def _patient_ask(self, request: dict[str, Any]) -> tuple[Path, dict[str, Any]]:
        """The clips' folder and the reply; asked again when someone killed the reader or its child.

        Each attempt has a folder of its own: a child outlives its reader by up to a second, and Ray
        may ask another process for a film that a lost one has begun.
        """
        reply: dict[str, Any] | None = None
        for _ in range(ATTEMPTS):
            folder = self._new_folder()
            reply = self._ask({**request, "folder": str(folder)})
            if reply is None:
                self._bury()
            elif reply["ended"] == "failed":
                raise InfrastructureError(
                    f"{request['path']} could not be read: {reply['error']}; "
                    f"see that {self._spool} can be written and has space, then run it again"
                )
            elif reply.get("signal") not in FROM_OUTSIDE:
                break
            shutil.rmtree(folder, ignore_errors=True)
        return folder, reply or {"ended": "crashed", "signal": signal.SIGKILL}

    def _new_folder(self) -> Path:
        try:
            return Path(tempfile.mkdtemp(prefix="film-", dir=self._spool))
        except OSError as error:
            raise InfrastructureError(
                f"{self._spool} cannot be written ({error.strerror}); see that it is there and has "
                "space, then run it again"
            ) from error

    def _bury(self) -> None:
        """Take leave of a reader process that was lost; the next film starts another.

        Raises:
            InfrastructureError: nobody killed it, it gave up.
        """
        assert self._process is not None
        status = self._process.wait()
        self.close()
        if status > 0:
            raise InfrastructureError(
                f"the process that reads films ended with status {status}; its last words are in "
                "the job's log"
            )

    def _ask(self, request: dict[str, Any]) -> dict[str, Any] | None:
        """One request, one reply; None when the reader process was lost."""
        if self._process is None:
            # A session of its own: a signal to the job's group is the job's to act on.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "ingest.reader"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd=ROOT,
                start_new_session=True,
            )
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return None
        line = self._process.stdout.readline()
        reply: dict[str, Any] | None = json.loads(line) if line.endswith(b"\n") else None
        return reply

    def _verdict(self, reply: dict[str, Any], wall_s: float) -> str:
        """One sentence on why there is no result."""
        if reply["ended"] == "stalled":
            return f"the decoder hung: not a frame in {self._limits.stall_s:g} s"
        number = reply.get("signal", 0)
        if reply["ended"] == "late" or number == signal.SIGXCPU:
            return f"reading it took longer than the {wall_s:.0f} s that a file of its size gets"
        if number == signal.SIGKILL:
            return f"its reader was killed {ATTEMPTS} times; is there too little memory?"
        known = {entry.value for entry in signal.Signals}
        how = f" ({signal.Signals(number).name})" if number in known else ""
        return f"decoding it crashed the reader{how}"


def changed(source: Row, recipe: IngestRecipe) -> FilmResult:
    """The result for a film that someone wrote to meanwhile: what was read may be half a film."""
    reason = "the file changed while it was read; the next refresh reads it again"
    return quarantined({**source, "recipe": fingerprint(recipe)}, "open", reason, "")


def file_state(path: Path) -> FileState:
    """What changes when someone writes to the file; None when it is not there."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_size, facts.st_mtime_ns


def _result(found: dict[str, Any], folder: Path) -> FilmResult:
    source = found["source"]
    if source["hash_video"] is not None:
        source["hash_video"] = base64.b64decode(source["hash_video"])
    kept = None if found["stage"] else folder
    return FilmResult(**{**found, "source": source, "folder": kept})
