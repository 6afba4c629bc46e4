"""What a file shows, whatever it says of itself: that names its job, so equal jobs differ."""

import hashlib
from pathlib import Path

import av


def decoded_hash(path: Path) -> str:
    """Of all decoded frames of a video or picture."""
    digest = hashlib.sha256()
    with av.open(str(path)) as container:
        for frame in container.decode(container.streams.video[0]):
            digest.update(frame.to_ndarray().tobytes())
    return digest.hexdigest()
