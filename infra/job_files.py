"""The job's side of the job contract: read `spec.json`, report progress, write `result.json` last.

A job module ends with `if __name__ == "__main__": sys.exit(run_job(main))` and runs by hand as
`python -m ingest.job --spec spec.json`. Its folder is the spec's folder. Exit status: 0 done,
2 the input is wrong (never retried), 3 the world failed (retryable), 143 asked to stop.
"""

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from infra.errors import InputError, JobCancelledError, ReelError

PROGRESS_EVERY_S = 0.5


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that a reader sees the old file or the whole new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("w") as handle:
        json.dump(value, handle, indent=1, sort_keys=True)
        handle.flush()
        os.fsync(handle.fileno())
    temporary.replace(path)


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in `path`, or None when there is no such file."""
    try:
        value: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    return value


class JobContext:
    """What a running job knows: its spec, its folder, and how to report.

    `should_stop` turns True on SIGTERM; a long loop checks it, saves its checkpoint, and calls
    `raise_if_stopping`.
    """

    def __init__(self, spec: dict[str, Any], folder: Path) -> None:
        self.spec = spec
        self.folder = folder
        self.should_stop = False
        self._last_report = 0.0

    def progress(self, done: float, total: float, message: str = "", **metrics: float) -> None:
        """Report `done` of `total` units; at most twice a second, the last always."""
        now = time.time()
        if now - self._last_report < PROGRESS_EVERY_S and done < total:
            return
        self._last_report = now
        write_json(
            self.folder / "progress.json",
            {"done": done, "total": total, "message": message, "metrics": metrics, "time": now},
        )

    def raise_if_stopping(self) -> None:
        """Raises JobCancelledError when the job was asked to stop."""
        if self.should_stop:
            raise JobCancelledError("the job was asked to stop; run it again to resume")

    def _on_sigterm(self, _signal: int, _frame: FrameType | None) -> None:
        self.should_stop = True


def run_job(main: Callable[[JobContext], dict[str, Any]], argv: list[str] | None = None) -> int:
    """Run `main` under the job contract and return the exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--spec", type=Path, required=True, help="path of the job's spec.json")
    path: Path = parser.parse_args(argv).spec.absolute()
    done = read_json(path.parent / "result.json")
    if done is not None:
        print("result.json is already there: nothing to do", flush=True)
        return 0
    try:
        spec = read_json(path)
        if spec is None:
            raise InputError(f"no job spec at {path}; write one first")
        context = JobContext(spec, path.parent)
        signal.signal(signal.SIGTERM, context._on_sigterm)
        write_json(path.parent / "result.json", main(context))
    except ReelError as error:
        write_json(
            path.parent / "error.json",
            {
                "type": type(error).__name__,
                "message": str(error),
                "retryable": error.retryable,
            },
        )
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        if isinstance(error, JobCancelledError):
            return 143
        return 3 if error.retryable else 2
    return 0
