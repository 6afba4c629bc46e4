"""The process that reads films: `python -m ingest.reader`, started by `ingest.sandbox`.

It has one thread, imports everything once, and forks a child for each film, which costs
milliseconds. The child has limits on its memory, time, files and output, and writes what it found
as JSON into a pipe; nothing of it is trusted. Requests are lines of JSON on stdin, replies lines
of JSON on stdout:

    request  {"path", "source", "recipe", "folder", "limits": {wall_s, stall_s, memory_bytes}}
    reply    {"ended": "well" | "stalled" | "late" | "crashed" | "failed", "peak_bytes", and
              "result" when well, "signal" when crashed, "error" when failed}
"""

import base64
import gc
import json
import os
import resource
import select
import signal
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

BEAT_S = 1.0
BEAT = b"."
STDIN = 0
MAX_REPLY_BYTES = 256 << 20
MAX_FILE_BYTES = 4 << 30
MAX_OPEN_FILES = 64


def main() -> int:
    """Serve requests until stdin ends."""
    # BLAS would start threads of its own as soon as numpy is imported, and a fork copies none.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    _warm_up()
    gc.freeze()  # what is there now stays shared with every child
    # Ctrl-C is for the job: it ends, and we with it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for line in iter(sys.stdin.buffer.readline, b""):
        reply = _read_film(json.loads(line))
        sys.stdout.buffer.write(json.dumps(reply).encode() + b"\n")
        sys.stdout.buffer.flush()
    return 0


def _warm_up() -> None:
    """Read a film of our own, so that everything a child would import or set up is there."""
    import av
    import numpy as np

    from ingest.film import ingest_film
    from ingest.recipe import IngestRecipe

    with tempfile.TemporaryDirectory(prefix="reel-") as name:
        folder = Path(name)
        with av.open(str(folder / "film.avi"), "w") as container:
            stream: Any = container.add_stream("mpeg4", rate=30)
            stream.width, stream.height = 192, 144
            stream.codec_context.thread_count = 1
            still = np.random.default_rng(0).integers(0, 256, (144, 192, 3), np.uint8)
            for number in range(45):
                picture = np.roll(still, number, axis=1)
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        source = {"uri": "", "source_id": "0" * 64, "size_bytes": 0, "mtime_ns": 0}
        found = ingest_film(folder / "film.avi", source, IngestRecipe(), folder)
    if found.stage:
        sys.exit(f"a film of our own cannot be read: {found.reason}; {found.error}")


def _read_film(request: dict[str, Any]) -> dict[str, Any]:
    """Have a child read one film, and say how that ended."""
    receive, send = os.pipe()
    child = os.fork()
    if not child:
        os.close(receive)
        _work(request, send)
    os.close(send)
    try:
        limits = request["limits"]
        reply = _listen(receive, STDIN, limits["wall_s"], limits["stall_s"])
    finally:
        # However we leave: a child that has ended stays a zombie, and its id is its own, till now.
        os.kill(child, signal.SIGKILL)
        os.close(receive)
        _, status, usage = os.wait4(child, 0)
    if reply is None:
        reply = {"ended": "crashed", "signal": os.WTERMSIG(status)}
    return {**reply, "peak_bytes": usage.ru_maxrss * 1024}


def _listen(receive: int, asker: int, wall_s: float, stall_s: float) -> dict[str, Any] | None:
    """The child's reply, or why there is none; None when it ended without one."""
    deadline, said = time.monotonic() + wall_s, b""
    while True:
        patience_s = min(stall_s, max(0.0, deadline - time.monotonic()))
        ready, _, _ = select.select([receive, asker], [], [], patience_s)
        if asker in ready:
            sys.exit("the process that asked is gone")  # it sends one request at a time
        if not ready:
            return {"ended": "stalled" if patience_s == stall_s else "late"}
        data = os.read(receive, 1 << 16)
        if not data:
            break
        said = (said + data).lstrip(BEAT)
        if len(said) > MAX_REPLY_BYTES:
            return {"ended": "failed", "error": "what it says of the film has no end"}
    try:
        reply: dict[str, Any] = json.loads(said)
    except ValueError:
        return None
    return reply


def _work(request: dict[str, Any], send: int) -> NoReturn:
    """The child's whole life."""
    # Imported already: the fork only looks it up.
    from infra.recipes import from_dict
    from ingest.film import ingest_film
    from ingest.recipe import IngestRecipe

    try:
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, sys.stdin.fileno())
        os.dup2(null, sys.stdout.fileno())
        _limit(request["limits"])
        _beat(send)
        recipe = from_dict(IngestRecipe, request["recipe"])
        folder = Path(request["folder"])
        result = ingest_film(Path(request["path"]), request["source"], recipe, folder)
        source = result.source
        if source["hash_video"] is not None:
            source["hash_video"] = base64.b64encode(source["hash_video"]).decode()
        found = {
            key: getattr(result, key) for key in ("source", "clips", "stage", "reason", "error")
        }
        reply: dict[str, Any] = {"ended": "well", "result": found}
    except BaseException as error:
        reply = {"ended": "failed", "error": f"{type(error).__name__}: {error}"}
    signal.setitimer(signal.ITIMER_REAL, 0)
    with suppress(BrokenPipeError), os.fdopen(send, "wb") as out:
        out.write(json.dumps(reply).encode())
    os._exit(0)


def _limit(limits: dict[str, Any]) -> None:
    """Bound what this process may use, for good."""
    cpu_s = int(limits["wall_s"]) + 1
    for what, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_DATA, limits["memory_bytes"]),
        (resource.RLIMIT_FSIZE, MAX_FILE_BYTES),
        (resource.RLIMIT_NOFILE, MAX_OPEN_FILES),
    ):
        hard = resource.getrlimit(what)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (most, most))


def _beat(send: int) -> None:
    """Say every second that we are alive.

    Python runs a signal's handler between two of its own instructions, so a decoder that never
    returns from one call silences us, whatever its threads do.
    """

    def beat(_signal: int, _frame: FrameType | None) -> None:
        try:
            os.write(send, BEAT)
        except BrokenPipeError:
            os._exit(1)  # nobody waits for us any more

    signal.signal(signal.SIGALRM, beat)
    signal.siginterrupt(signal.SIGALRM, False)
    signal.setitimer(signal.ITIMER_REAL, BEAT_S, BEAT_S)


if __name__ == "__main__":
    sys.exit(main())
