"""The longest video and the largest picture, through the API."""

import base64
import io
import time
import urllib.request

import av
import numpy as np
from PIL import Image

from tests.benchmarks.figure import Figure
from tests.benchmarks.serving.world import PROMPT, call, server

SECONDS, SIZE = 60, (512, 384)
SIDE = 2048


def minute_video_ok() -> dict[str, Figure]:
    """1 when every frame of the file decodes, and they differ."""
    with server() as running:
        begun = time.perf_counter()
        size = f"{SIZE[0]}x{SIZE[1]}"
        body = {"prompt": PROMPT, "seconds": SECONDS, "size": size, "seed": 1}
        video = call(f"{running.url}/v1/videos", body)
        address = f"{running.url}/v1/videos/{video['id']}"
        while (video := call(address))["status"] in ("queued", "in_progress"):
            time.sleep(0.5)
        took = time.perf_counter() - begun
        assert video["status"] == "completed", video["error"]
        with urllib.request.urlopen(f"{address}/content") as reply:
            data = reply.read()
    with av.open(io.BytesIO(data)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        seconds = float(container.duration or 0) / av.time_base
    right = abs(seconds - SECONDS) < 0.2 and {f.shape for f in frames} == {(*SIZE[::-1], 3)}
    moves = not np.array_equal(frames[0], frames[-1])
    note = f"{len(frames)} frames, {seconds:.2f} s of {size}, made in {took:.0f} s"
    figure = Figure(value=int(right and moves), target=1, better="higher", n=1, note=note)
    return {"minute_video_ok": figure}


def image_2048_ok() -> dict[str, Figure]:
    """1 when a picture of that size comes, in two stages."""
    with server() as running:
        begun = time.perf_counter()
        body = {"prompt": PROMPT, "size": f"{SIDE}x{SIDE}", "seed": 1}
        reply = call(f"{running.url}/v1/images/generations", body)
        took = time.perf_counter() - begun
    picture = Image.open(io.BytesIO(base64.b64decode(reply["data"][0]["b64_json"])))
    right = picture.size == (SIDE, SIDE) and np.asarray(picture).std() > 1
    note = f"{SIDE}x{SIDE} in {took:.0f} s, of them {reply['x_timings']['encode_s']:.1f} s encoding"
    figure = Figure(value=int(right), target=1, better="higher", n=1, note=note)
    return {"image_2048_ok": figure}
