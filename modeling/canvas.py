"""A request's latent frames: which of them are known, and what they hold.

The canvas is a row of latent frames, called groups as in the VAE: the first is one frame of pixels,
each further one is four. It is laid so that the groups' borders fall on the seams of what is given:
forward from the end of a given head, backward from the start of a given tail. A group, or a patch
of it, is given when all of its pixels are; given pixels come back as they were in any case.

Shapes: K frames of pixels, G groups, H W pixels, y x positions of the patch grid.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from infra.errors import InputError
from modeling.codec import VAE
from modeling.data import to_float
from modeling.tasks import Frames, Given, Request, fit, marked, pixels
from modeling.vae import GROUP, SPATIAL


@dataclass(frozen=True)
class Span:
    """Groups `first` to before `end`, as latents; zeros where nothing is known of them."""

    latents_GChw: Tensor
    given_Gyx: Tensor


class Canvas:
    """The groups of a request.

    recent, coming: how many known groups a window is shown before and after what it makes.

    start: the result's frame that the first group is; those before it are given. It is below 0
        where the canvas begins with frames that nobody asked for.
    known: for each group whether all of it is given. The canvas ends with the groups of a given
        tail that a window is shown.
    """

    def __init__(self, request: Request, vae: VAE, patch: int, *, recent: int, coming: int) -> None:
        self.request, self._vae = request, vae
        self._patch_px = patch * SPATIAL
        whole = np.zeros(request.num_frames, bool)
        for given in request.given:
            if given.whole:
                whole[given.start : given.end] = True
        if whole.all():
            raise InputError(
                f"all {len(whole)} frames are given and nothing is left to make; give fewer"
            )
        head, tail = int(np.argmin(whole)), int(np.argmin(whole[::-1]))
        if request.loop:
            self.start = -1  # the first group opens a video, which a loop does not
        elif head:
            self.start = head - 1 - GROUP * (min(1 + (head - 1) // GROUP, max(recent, 1)) - 1)
        else:
            self.start = -((1 + tail - request.num_frames) % GROUP) if tail else 0
        left = request.num_frames - self.start - 1
        count, inside = 1 + -(-left // GROUP), 1 + left // GROUP
        first_of_tail = 1 + -(-(left - tail) // GROUP)
        if tail and not request.loop and first_of_tail < inside:
            count = min(first_of_tail + coming, inside)
        self.known = [self._whole(whole, index) for index in range(count)]

    def _whole(self, whole: npt.NDArray[np.bool_], group: int) -> bool:
        first, end = self.frames_of(group)
        return first >= 0 and end <= len(whole) and bool(whole[first:end].all())

    def frames_of(self, group: int) -> tuple[int, int]:
        """The result's first frame of a group, and the one after its last."""
        first = self.start + GROUP * group - (GROUP - 1)
        return max(first, self.start), self.start + GROUP * group + 1

    @torch.no_grad()
    def span(self, first: int, end: int) -> Span:
        """Latents of groups that are given or have a source, each encoded by itself."""
        request = self.request
        sides = request.height // SPATIAL, request.width // SPATIAL
        device = self._vae.device
        latents = torch.zeros(end - first, self._vae.latent_channels, *sides, device=device)
        grid = request.height // self._patch_px, request.width // self._patch_px
        given = torch.zeros(end - first, *grid, dtype=torch.bool)
        shown, clips = [], []
        for index in range(first, end):
            frames, mask = self._pixels(*self.frames_of(index))
            tiles = mask.reshape(-1, grid[0], self._patch_px, grid[1], self._patch_px)
            given[index - first] = torch.from_numpy(tiles.all((0, 2, 4)))
            if given[index - first].any() or request.source is not None:
                shown.append(index - first)
                clips.append(np.repeat(frames, GROUP // len(frames), axis=0))
        if shown:
            # The still in front only makes this a legal clip; groups do not see each other.
            video = np.concatenate([clips[0][:1], *clips])
            encoded = self._vae.encode(to_float(video)[None].to(device))[0, 1:]
            for index, own in zip(shown, encoded, strict=True):
                latents[index] = own
        if bool((given == given[:, :1, :1]).all()):
            given = given[:, :1, :1]
        return Span(latents, given)

    def _pixels(self, first: int, end: int) -> tuple[Frames, npt.NDArray[np.bool_]]:
        """Given pixels of these frames on their source, (K, H, W, 3), and where they are given.

        What is hidden is painted in the mean colour of what is given: the encoder sees some pixels
        across a box's border, and is to see nothing of what is made anew.
        """
        request = self.request
        shape = (end - first, request.height, request.width)
        frames, mask = np.zeros((*shape, 3), np.uint8), np.zeros(shape, bool)
        for given, at, index in self._shown(first, end):
            part = _part(given, request)
            frames[at][part] = fit(given.frames[index], *shape[1:])[part]
            mask[at] |= part
        for frame, shown, at in zip(frames, mask, range(first, end), strict=True):
            if request.source is not None:
                source = request.source[min(max(at, 0), len(request.source) - 1)]
                frame[~shown] = fit(source, *shape[1:])[~shown]
            elif shown.any():
                frame[~shown] = frame[shown].mean(0)
        return frames, mask

    def compose(self, first: int, frames: Frames) -> Frames:
        """The frames from `first` of the result on, with what is given put in; in place."""
        for given, at, index in self._shown(first, first + len(frames)):
            part = _part(given, self.request)
            frames[at][part] = fit(given.frames[index], *part.shape)[part]
        return frames

    def _shown(self, first: int, end: int) -> list[tuple[Given, int, int]]:
        """What is given of the frames: it, the frame's place from `first`, and its own frame."""
        return [
            (given, at - first, at - given.start)
            for given in self.request.given
            for at in range(max(first, given.start, 0), min(end, given.end))
        ]


def _part(given: Given, request: Request) -> npt.NDArray[np.bool_]:
    """Where a frame of the result shows what is given, (H, W)."""
    if given.mask_HW is not None:
        return marked(given.mask_HW, request.height, request.width)
    if given.box is None:
        return np.ones((request.height, request.width), bool)
    part = np.full((request.height, request.width), given.outside)
    part[pixels(given.box, request.height, request.width)] = not given.outside
    return part
