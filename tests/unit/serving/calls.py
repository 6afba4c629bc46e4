"""Requests and readers that the API's tests share."""

import io

import av
import numpy as np
from PIL import Image


def png(width=64, height=48, colour=(10, 200, 30)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(buffer, "PNG")
    return buffer.getvalue()


def picture_frames(count: int, width: int = 64, height: int = 48) -> np.ndarray:
    """Grey frames (T, H, W, 3), each lighter than the one before."""
    levels = np.linspace(20, 220, count).astype(np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (count, height, width, 3)).copy()


def frames_of(data: bytes) -> np.ndarray:
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)])


def create(world, **fields):
    reply = world.client.post("/v1/videos", json={"prompt": "a red ball"} | fields)
    assert reply.status_code == 200, reply.text
    return reply.json()


def content(world, video_id, variant="video") -> bytes:
    reply = world.client.get(f"/v1/videos/{video_id}/content", params={"variant": variant})
    assert reply.status_code == 200, reply.text
    return reply.content


def first_frame(world, index) -> np.ndarray:
    """The first frame (H, W, 3) that the model was given with its request of that index."""
    return world.generator.requests[index].given[0].frames[0]
