"""A job for tests; `spec["act"]` says how it behaves."""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from infra.errors import InputError
from infra.job_files import JobContext, read_json, run_job, write_json
from infra.settings import Settings


def main(context: JobContext) -> dict[str, Any]:
    """Run one act and return its result."""
    acts = {
        "add": _add,
        "reject": _reject,
        "crash": _crash,
        "count": _count,
        "mute": _mute,
        "key": _key,
    }
    return acts[context.spec["act"]](context)


def _add(context: JobContext) -> dict[str, Any]:
    print("adding", flush=True)
    context.progress(1, 2, "half")
    context.progress(2, 2, "all", loss=0.5)
    print("added\nno end of line", end="", flush=True)
    return {"sum": sum(context.spec["numbers"]), "threads": os.environ.get("OMP_NUM_THREADS")}


def _reject(_context: JobContext) -> dict[str, Any]:
    raise InputError("no folder at /nowhere; give one that exists")


def _crash(_context: JobContext) -> dict[str, Any]:
    print("about to crash", flush=True)
    raise ValueError("a bug")


def _key(_context: JobContext) -> dict[str, Any]:
    return {"key": Settings().caption_key.get_secret_value()}


def _mute(_context: JobContext) -> dict[str, Any]:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # it hangs, but it can be stopped at once
    time.sleep(3600)
    return {}


def _count(context: JobContext) -> dict[str, Any]:
    """Count up by a tenth of a second, with a checkpoint each time; resumes and stops politely."""
    start = 0
    if "resume_from" in context.spec:
        saved = read_json(Path(context.spec["resume_from"]) / "count.json")
        start = saved["count"] if saved else 0
    for count in range(start, context.spec["until"] + 1):
        write_json(context.folder / "count.json", {"count": count, "pid": os.getpid()})
        context.progress(count, context.spec["until"])
        if context.should_stop:
            time.sleep(4)  # longer than Ray's own patience with a job that it stops
            write_json(context.folder / "saved.json", {"count": count})
            context.raise_if_stopping()
        time.sleep(0.1)
    return {"count": context.spec["until"], "began_at": start}


if __name__ == "__main__":
    sys.exit(run_job(main))
