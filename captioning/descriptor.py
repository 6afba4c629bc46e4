"""What a clip looks like, in numbers that need no weights: colour grids over time, and a vector.

Both start from the frames that the captioner looks at, (N, cell, cell, 3) uint8 RGB.
"""

import cv2
import numpy as np
import numpy.typing as npt

from captioning.frames import Frames

ROWS, COLUMNS = 6, 8
GRID_SIZE = ROWS * COLUMNS * 3
EDGE_ROWS, EDGE_COLUMNS, DIRECTIONS = 3, 4, 8
TONES = 4  # a channel, of the colour histogram
EDGE_FRAMES = 8  # frames whose edges are counted, evenly spread
FAINT = 0.05  # a part of the vector that is weaker than this stays weak: noise is no pattern

Vector = npt.NDArray[np.float32]


def signature(frames_THWC: Frames) -> bytes:
    """A colour grid a frame, uint8 (N, 6, 8, 3): what survives re-encoding and scaling."""
    return _grids(frames_THWC).tobytes()


def grids_of(stored: bytes) -> npt.NDArray[np.uint8]:
    """A signature as the array (N, 144) that it was."""
    return np.frombuffer(stored, np.uint8).reshape(-1, GRID_SIZE)


def describe(frames_THWC: Frames) -> Vector:
    """A vector (352,) of length 1: colours and where they are, what changes where, and edges.

    Colour layout as in MPEG-7's descriptor of that name, edges as in HOG (Dalal and Triggs, 2005).
    """
    grids = _grids(frames_THWC).astype(np.float32) / 255
    grey = grids.mean(axis=3)
    change = np.abs(np.diff(grey, axis=0)).mean(axis=0) if len(grey) > 1 else np.zeros_like(grey[0])
    chosen = np.linspace(0, len(frames_THWC) - 1, min(EDGE_FRAMES, len(frames_THWC)))
    looked = frames_THWC[chosen.round().astype(int)]
    parts = [grids.mean(axis=0) - 0.5, change * 4, _edges(looked), _colors(looked)]
    weak = [part.ravel() / (np.linalg.norm(part) + FAINT) for part in parts]
    vector = np.concatenate(weak).astype(np.float32)
    return vector / max(float(np.linalg.norm(vector)), 1e-6)


def _grids(frames_THWC: Frames) -> npt.NDArray[np.uint8]:
    size = (COLUMNS, ROWS)
    return np.stack([cv2.resize(x, size, interpolation=cv2.INTER_AREA) for x in frames_THWC])


def _edges(frames_THWC: Frames) -> Vector:
    """(3, 4, 8): how strong edges of each direction are in each part of the picture."""
    total = np.zeros((EDGE_ROWS, EDGE_COLUMNS, DIRECTIONS), np.float32)
    for frame in frames_THWC:
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
        across, down = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
        strength = np.hypot(across, down)
        turn = np.mod(np.arctan2(down, across), np.pi) / np.pi * DIRECTIONS
        direction = np.minimum(turn.astype(int), DIRECTIONS - 1)
        for index in range(DIRECTIONS):
            only = np.where(direction == index, strength, 0).astype(np.float32)
            size = (EDGE_COLUMNS, EDGE_ROWS)
            total[..., index] += cv2.resize(only, size, interpolation=cv2.INTER_AREA)
    return total / np.float32(len(frames_THWC))


def _colors(frames_THWC: Frames) -> Vector:
    """(64,): roots of the shares of colours."""
    tones = (frames_THWC.reshape(-1, 3) // (256 // TONES)).astype(int)
    index = (tones[:, 0] * TONES + tones[:, 1]) * TONES + tones[:, 2]
    shares = np.bincount(index, minlength=TONES**3) / len(index)
    return np.sqrt(shares).astype(np.float32)
