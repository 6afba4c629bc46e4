"""Tasks: a request says which frames, and which part of them, are given; the rest is made.

    request = Request(prompt="a red ball", num_frames=32, height=48, width=64, seed=1)
    request = bridge(request, one_clip, another)

Each task is a function that fills in a request. There is one model for all of them.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from PIL import Image

from infra.errors import InputError
from modeling.vae import GROUP

Frames = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Box:
    """A part of the frame, in shares of its sides: 0 is the top or left edge, 1 the other one."""

    top: float
    left: float
    height: float
    width: float


@dataclass(frozen=True)
class Given:
    """Frames (T, H, W, 3) of any size that are part of the result, the first of them at `start`.

    With a box only that part of them is given; with `outside` too, all but that part. With a
    `mask_HW` of any size only what it marks is.
    """

    frames: Frames
    start: int = 0
    box: Box | None = None
    outside: bool = False
    mask_HW: npt.NDArray[np.bool_] | None = None

    @property
    def whole(self) -> bool:
        """Whether all of each frame is given."""
        return self.box is None and self.mask_HW is None

    @property
    def end(self) -> int:
        return self.start + len(self.frames)


@dataclass(frozen=True, kw_only=True)
class Request:
    """One video or image to make.

    num_frames: frames of the result, given ones included. An image is a video of one frame.
    height, width: native size, from `Generator.native_size`.
    steps, guidance: 0 takes the recipe's.
    source: frames (num_frames, H, W, 3) that the result departs from, by `strength`.
    loop: after the last frame comes the first again.
    """

    prompt: str
    num_frames: int
    height: int
    width: int
    seed: int
    steps: int = 0
    guidance: float = 0.0
    negative_prompt: str = ""
    given: tuple[Given, ...] = ()
    source: Frames | None = None
    strength: float = 1.0
    loop: bool = False


def image(request: Request) -> Request:
    """A single picture."""
    return replace(request, num_frames=1)


def image_to_video(request: Request, picture_HWC: Frames) -> Request:
    """The picture is the first frame."""
    return extend(request, picture_HWC[None])


def extend(request: Request, clip: Frames, direction: str = "forward") -> Request:
    """The clip is the beginning of the result, or its end when the direction is "backward"."""
    if direction not in ("forward", "backward"):
        raise InputError(f"direction is {direction!r}; it has to be 'forward' or 'backward'")
    _fits(request, len(clip), "the clip's")
    start = 0 if direction == "forward" else request.num_frames - len(clip)
    return replace(request, given=(*request.given, Given(clip, start)))


def bridge(request: Request, first: Frames, second: Frames) -> Request:
    """The result begins with one clip and ends with the other."""
    if first.shape[1:] != second.shape[1:]:
        sizes = [f"{clip.shape[2]}x{clip.shape[1]}" for clip in (first, second)]
        raise InputError(
            f"the clips to bridge are of {sizes[0]} and {sizes[1]}; scale them to one size"
        )
    between = request.num_frames - len(first) - len(second)
    _fits(request, len(first) + len(second), "the clips'")
    spare = between % GROUP
    if len(second) < GROUP + (GROUP - spare) % GROUP:
        raise InputError(
            f"the second clip's {len(second)} frames are too few to be led to: give "
            f"{2 * GROUP - 1} or more, or {GROUP} and {max(between - spare, GROUP)} frames between"
        )
    return extend(extend(request, first), second, "backward")


def loop(request: Request, clip: Frames | None = None) -> Request:
    """The result goes on from its last frame to its first; it may begin with a clip.

    A loop is made of whole groups of four frames. So up to three of the clip's first frames are
    left out.
    """
    if request.num_frames % GROUP:
        low = request.num_frames // GROUP * GROUP
        raise InputError(
            f"a loop has a multiple of {GROUP} frames, not {request.num_frames}; "
            f"ask for {max(low, GROUP)} or {low + GROUP}"
        )
    if clip is None:
        return replace(request, loop=True)
    if len(clip) < GROUP:
        raise InputError(f"a clip to loop has {GROUP} frames or more, not {len(clip)}")
    return replace(extend(request, clip[len(clip) % GROUP :]), loop=True)


def infill(request: Request, clip: Frames, *, start: int, end: int) -> Request:
    """The clip, but the frames from `start` to before `end` are made anew."""
    if not 0 <= start < end <= len(clip) or end - start == len(clip):
        raise InputError(
            f"frames {start} to {end} cannot be made anew in a clip of {len(clip)}: choose "
            "0 <= start < end within it, and leave some as they are"
        )
    _same_length(request, clip)
    parts = (Given(clip[:start]), Given(clip[end:], end))
    return replace(request, given=(*request.given, *(part for part in parts if len(part.frames))))


def inpaint(request: Request, clip: Frames, box: Box) -> Request:
    """The clip, but what is inside the box is made anew."""
    _same_length(request, clip)
    return replace(request, given=(*request.given, Given(clip, box=checked(box), outside=True)))


def repaint(request: Request, clip: Frames, mask_HW: npt.NDArray[np.bool_]) -> Request:
    """The clip, but what the mask (of any size) marks is made anew."""
    _same_length(request, clip)
    return replace(request, given=(*request.given, Given(clip, mask_HW=~mask_HW)))


def outpaint(request: Request, clip: Frames, box: Box) -> Request:
    """The clip is scaled into the box, and what is around it is made."""
    _same_length(request, clip)
    rows, columns = pixels(checked(box), request.height, request.width)
    canvas = np.zeros((len(clip), request.height, request.width, 3), np.uint8)
    for frame, small in zip(canvas, clip, strict=True):
        frame[rows, columns] = fit(small, rows.stop - rows.start, columns.stop - columns.start)
    return replace(request, given=(*request.given, Given(canvas, box=box)))


def video_to_video(request: Request, clip: Frames, strength: float) -> Request:
    """The clip made anew: the nearer the strength is to 1, the freer."""
    if not 0 < strength <= 1:
        raise InputError(f"strength is {strength:g}; it has to be above 0 and at most 1")
    _same_length(request, clip)
    return replace(request, source=clip, strength=strength)


def checked(box: Box) -> Box:
    """The box, when it lies inside the frame and is not all of it.

    Raises:
        InputError: it does not.
    """
    inside = (
        min(box.top, box.left) >= 0
        and min(box.height, box.width) > 0
        and max(box.top + box.height, box.left + box.width) <= 1 + 1e-6
    )
    if not inside or min(box.height, box.width) >= 1:
        raise InputError(
            f"{box} is not a part of the frame: top and left are at least 0, height and width "
            "above 0, the sums top + height and left + width at most 1, and some is left over"
        )
    return box


def pixels(box: Box, height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns of the box in a frame; at least one of each."""
    spans = []
    for first, length, side in ((box.top, box.height, height), (box.left, box.width, width)):
        low = min(round(first * side), side - 1)
        spans.append(slice(low, max(low + 1, min(round((first + length) * side), side))))
    return spans[0], spans[1]


def marked(mask_HW: npt.NDArray[np.bool_], height: int, width: int) -> npt.NDArray[np.bool_]:
    """The mask at another size; only what is marked all over stays so."""
    # BOX means over all that a pixel covers, and in whole numbers a mean of 255 has no other part.
    image = Image.fromarray(mask_HW.astype(np.uint8) * 255)
    mean: npt.NDArray[np.uint8] = np.asarray(image.resize((width, height), Image.Resampling.BOX))
    return np.equal(mean, 255)


def fit(frame_HWC: Frames, height: int, width: int) -> Frames:
    """Scale a frame to cover (height, width) and crop the middle."""
    if frame_HWC.shape[:2] == (height, width):
        return frame_HWC
    image = Image.fromarray(frame_HWC)
    scale = max(width / image.width, height / image.height)
    box_w, box_h = width / scale, height / scale
    left, top = (image.width - box_w) / 2, (image.height - box_h) / 2
    box = (left, top, left + box_w, top + box_h)
    return np.asarray(image.resize((width, height), Image.Resampling.LANCZOS, box=box))


def _fits(request: Request, given: int, whose: str) -> None:
    if not 0 < given < request.num_frames:
        raise InputError(
            f"{whose} {given} frames leave nothing to make of {request.num_frames}: give at least "
            f"one, and ask for more than {given} in all"
        )


def _same_length(request: Request, clip: Frames) -> None:
    if len(clip) != request.num_frames:
        raise InputError(
            f"the clip has {len(clip)} frames and the result {request.num_frames}; "
            "cut the clip, or ask for as many frames as it has"
        )
