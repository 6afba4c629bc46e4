"""Generation: prompts and given frames in, pixels out, at any length.

One window at a time: the first comes from noise (and the given frames), each further one is given
the end (or the beginning) of what exists. That one mechanism is text-to-video, image-to-video,
extension in both directions, and long video.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from modeling.bundle import Bundle
from modeling.data import nearest_size, to_float, to_pixels
from modeling.sampler import SamplerRecipe, SamplingStopped, Task, sample
from modeling.text import token_tensor
from modeling.vae import GROUP, SPATIAL

Frames = npt.NDArray[np.uint8]
WINDOWS_PER_CALL = 48


class GenerationCancelled(Exception):  # noqa: N818 - an outcome, not an error
    """`on_step` asked to stop."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """One video or image to make.

    num_frames: frames of the result, given ones included. An image is a video of one frame.
    height, width: native size, from `Generator.native_size`.
    steps, guidance: 0 takes the recipe's.
    given: frames (T, H, W, 3) of any size: the head of the result when `direction` is "forward",
        its tail when "backward".
    """

    prompt: str
    num_frames: int
    height: int
    width: int
    seed: int
    steps: int = 0
    guidance: float = 0.0
    negative_prompt: str = ""
    given: Frames | None = None
    direction: str = "forward"


@dataclass(frozen=True)
class _Window:
    """One call of the sampler: latents with the given ones filled in."""

    latents_GChw: Tensor
    given_G: Tensor
    seed: int


class Generator:
    """Makes videos from a bundle. Not thread-safe: one generation at a time."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.data = bundle.recipe.data
        self.fps = self.data.fps
        self.window_groups = 1 + (self.data.num_frames - 1) // GROUP

    def native_size(self, width: int, height: int) -> tuple[int, int]:
        """(height, width) of the model's own frames for a wanted picture size."""
        return nearest_size(width, height, self.data)

    def num_frames(self, seconds: float) -> int:
        """Frames of a video of that duration, at least one."""
        return max(1, round(seconds * self.fps))

    def total_steps(self, request: Request) -> int:
        """Sampler steps that `generate` will take, windows and all."""
        windows, frames = 0, 0 if request.given is None else len(request.given)
        while frames < request.num_frames or windows == 0:
            frames += self._gain(frames, request)
            windows += 1
        return windows * self._sampler(request).steps

    def generate(
        self, request: Request, on_step: Callable[[int, int], bool] | None = None
    ) -> Frames:
        """The video, (num_frames, height, width, 3); given frames are in it, resized but unchanged.

        `on_step(done, total)` is called after each sampler step, all windows counted.

        Raises:
            GenerationCancelled: `on_step` returned False.
        """
        total, finished = self.total_steps(request), 0
        video = self._given(request)
        count = 0

        def step(_done: int, _steps: int) -> bool:
            nonlocal finished
            finished += 1
            return on_step is None or on_step(finished, total)

        while len(video) < request.num_frames or count == 0:
            window = self._next_window(video, request, count)
            try:
                (latents,) = self._sample([window], [request], step)
            except SamplingStopped:
                raise GenerationCancelled from None
            video = self._join(video, latents, window, request)
            count += 1
        return asked_for(video, request)

    def generate_windows(self, requests: Sequence[Request]) -> list[Frames]:
        """One window for each request, many at a time; each is what `generate` would give, or its
        part next to the given frames where one window is not enough."""
        videos: list[Frames] = []
        for first in range(0, len(requests), WINDOWS_PER_CALL):
            part = requests[first : first + WINDOWS_PER_CALL]
            given = [self._given(request) for request in part]
            windows = [
                self._next_window(video, request, 0)
                for video, request in zip(given, part, strict=True)
            ]
            latents = self._sample(windows, part, None)
            videos += [
                asked_for(self._join(video, z, window, request), request)
                for video, z, window, request in zip(given, latents, windows, part, strict=True)
            ]
        return videos

    def decoded_window(self, request: Request) -> Frames:
        """The first window as the VAE decodes it, given frames too: what conditioning came to."""
        window = self._next_window(self._given(request), request, 0)
        (latents,) = self._sample([window], [request], None)
        return to_pixels(self.bundle.vae.decode(latents[None])[0])

    def _sampler(self, request: Request) -> SamplerRecipe:
        base = self.bundle.recipe.dit.sampler
        return replace(
            base,
            steps=request.steps or base.steps,
            guidance=request.guidance or base.guidance,
        )

    def _sample(
        self,
        windows: Sequence[_Window],
        requests: Sequence[Request],
        on_step: Callable[[int, int], bool] | None,
    ) -> list[Tensor]:
        tasks = [
            Task(
                latents_GChw=window.latents_GChw,
                given_G=window.given_G,
                text_LD=self._text(request.prompt),
                negative_LD=self._text(request.negative_prompt),
                fps=self.fps,
                seed=window.seed,
            )
            for window, request in zip(windows, requests, strict=True)
        ]
        return sample(self.bundle.dit, tasks, self._sampler(requests[0]), on_step)

    def _text(self, prompt: str) -> Tensor:
        with torch.no_grad():
            features: Tensor = self.bundle.text(token_tensor(self.bundle.tokenizer.encode(prompt)))
        return features

    def _given(self, request: Request) -> Frames:
        if request.given is None:
            return np.zeros((0, request.height, request.width, 3), np.uint8)
        return np.stack([fit(frame, request.height, request.width) for frame in request.given])

    def _gain(self, frames: int, request: Request) -> int:
        """Frames that one more window adds to `frames` that exist."""
        if request.num_frames == 1:
            return 1
        if request.direction == "backward" and frames:
            return 1 + GROUP * (self.window_groups - 2)
        context = self._context_groups(frames)
        return self.data.num_frames - (1 + GROUP * (context - 1) if context else 0)

    def _context_groups(self, frames: int) -> int:
        """Latent frames that the next window is given of `frames` existing ones, going forward.

        Half a window: enough to see how things move, and the other half is new.
        """
        if frames == 0:
            return 0
        return min(1 + (frames - 1) // GROUP, (self.window_groups + 1) // 2)

    @torch.no_grad()
    def _next_window(self, video: Frames, request: Request, count: int) -> _Window:
        groups = 1 if request.num_frames == 1 else self.window_groups
        channels = self.bundle.recipe.vae.config.latent_channels
        latents = torch.zeros(groups, channels, request.height // SPATIAL, request.width // SPATIAL)
        given = torch.zeros(groups, dtype=torch.bool)
        if len(video) and request.direction == "backward":
            head = video[:GROUP]
            head = np.concatenate([head, np.repeat(head[-1:], GROUP - len(head), axis=0)])
            # The still in front is only there to make a legal clip; its latent is dropped.
            encoded = self.bundle.vae.encode(to_float(np.concatenate([head[:1], head]))[None])[0]
            latents[-1], given[-1] = encoded[1], True
        elif len(video):
            context = self._context_groups(len(video))
            tail = video[len(video) - (1 + GROUP * (context - 1)) :]
            latents[:context] = self.bundle.vae.encode(to_float(tail)[None])[0]
            given[:context] = True
        return _Window(latents, given, request.seed * 1009 + count)

    @torch.no_grad()
    def _join(
        self, video: Frames, latents_GChw: Tensor, window: _Window, request: Request
    ) -> Frames:
        decoded = to_pixels(self.bundle.vae.decode(latents_GChw[None])[0])
        if not len(video):
            return decoded
        if request.direction == "backward":
            return np.concatenate([decoded[:-GROUP], video])
        known = 1 + GROUP * (int(window.given_G.sum()) - 1)
        return np.concatenate([video, decoded[known:]])


def asked_for(video: Frames, request: Request) -> Frames:
    """At most the frames that were asked for; what is too much is far from the given frames."""
    forward = request.direction == "forward"
    return video[: request.num_frames] if forward else video[-request.num_frames :]


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
