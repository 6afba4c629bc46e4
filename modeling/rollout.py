"""Rollout: a video of any length, window after window, all in latents.

    rollout = Rollout(bundle, request)
    while (task := rollout.task()) is not None:
        (latents,) = sample(bundle.dit, [task], recipe)
        for frames in rollout.take(latents): …

A window is given what is known before and after what it makes; beyond it, it remembers the groups
before at falling resolution (FramePack, Zhang and Agrawala, 2025) and the first of all, the anchor.
Nothing is decoded and encoded again, frames come out as soon as they are final, and what no later
window needs is dropped. So memory does not grow with the length; only what is made backward, or in
a loop, keeps its latents (a 200th of its pixels) until its beginning is known.

Shapes: G latent frames, called groups as in the VAE.
"""

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from modeling.bundle import Bundle
from modeling.canvas import Canvas
from modeling.data import to_pixels
from modeling.documents import Memory, coarser
from modeling.sampler import Task
from modeling.tasks import Frames, Request
from modeling.vae import GROUP
from modeling.windows import plan, plan_loop


class Rollout:
    """The windows of one request, in order: `task` says what to sample, `take` takes it.

    windows: all of them, known from the start.

    Raises:
        InputError: everything is given, or a loop is too short.
    """

    def __init__(self, bundle: Bundle, request: Request) -> None:
        self._bundle, self._request = bundle, request
        self._recipe = bundle.recipe.dit.rollout
        size = 1 + (bundle.recipe.data.num_frames - 1) // GROUP
        recent = min(math.ceil(size * self._recipe.recent_share), size - 1)
        coming = min(max(1, (size - 1) // 2), max(size - 2, 0))
        patch = bundle.recipe.dit.config.patch
        self._canvas = Canvas(request, bundle.vae, patch, recent=recent, coming=coming)
        known = self._canvas.known
        if request.loop:
            self.windows = plan_loop(known, size, recent, coming)
        else:
            self.windows = plan(known, 1 if request.num_frames == 1 else size, recent, coming)
        self._done = 0
        self._latents: dict[int, Tensor] = {}  # of groups that were made
        self._group = 1 if request.loop else 0  # the next to decode
        self._cache = bundle.vae.decoder_cache()

    def task(self) -> Task | None:
        """The next window to sample; None when all are done."""
        if self._done == len(self.windows):
            return None
        window, request = self.windows[self._done], self._request
        latents, given = self._known(window.first, window.end)
        return Task(
            latents_GChw=latents,
            given_Gyx=given,
            text_LD=self._text(request.prompt),
            negative_LD=self._text(request.negative_prompt),
            fps=self._bundle.recipe.data.fps,
            seed=request.seed * 1009 + self._done,
            start=1.0 if request.source is None else request.strength,
            opens=window.first == 0,
            memory=self._memory(window.first),
        )

    def take(self, latents_GChw: Tensor) -> Iterator[Frames]:
        """Frames (K, H, W, 3) of the result that are final now, in its order."""
        window = self.windows[self._done]
        self._done += 1
        for index, latents in enumerate(latents_GChw, start=window.first):
            if self._is_new(index):
                self._latents[index] = latents
        yield from self._decoded()
        if self._done < len(self.windows) and not self._request.loop:
            self._forget(min(self._group, self.windows[self._done].first))

    def shown(self, frame_HWC: Frames) -> Frames:
        return frame_HWC

    def _is_new(self, index: int) -> bool:
        known = self._canvas.known
        return index < len(known) and not known[index] and index not in self._latents

    def _has(self, index: int) -> bool:
        known = self._canvas.known
        return index in self._latents or (0 <= index < len(known) and known[index])

    def _known(self, first: int, end: int) -> tuple[Tensor, Tensor]:
        """Latents and mask of what is given or made of these groups."""
        count = len(self._canvas.known)
        if self._request.loop and end > count:  # after the last group comes the first, which is 1
            parts = self._known(first, count), self._known(1, 1 + end - count)
            grid = max(mask.shape[1:] for _, mask in parts)
            masks = [mask.expand(-1, *grid) for _, mask in parts]
            return torch.cat([latents for latents, _ in parts]), torch.cat(masks)
        span = self._canvas.span(first, end)
        latents, given = span.latents_GChw, span.given_Gyx.clone()
        for index in range(first, end):
            if index in self._latents:
                latents[index - first], given[index - first] = self._latents[index], True
        return latents, given

    def _memory(self, first: int) -> tuple[Memory, ...]:
        """What a window that begins with group `first` is told of the groups before it."""
        recipe, fps = self._recipe, self._bundle.recipe.data.fps
        patch = self._bundle.recipe.dit.config.patch
        memories = []
        for back, factor in enumerate(recipe.history, start=1):
            if self._has(first - back):
                latents, _ = self._known(first - back, first - back + 1)
                # On the window's clock its first group ends at 0.
                middle = -(GROUP * back + (GROUP - 1) / 2) / fps
                memories.append(Memory(coarser(latents, factor, patch), torch.tensor([middle])))
        if recipe.anchor and self._has(first - 1) and self._has(0) and first > len(recipe.history):
            latents, _ = self._known(0, 1)
            memories.append(Memory(latents, torch.tensor([-recipe.far_s])))
        return tuple(memories)

    def _decoded(self) -> Iterator[Frames]:
        canvas, request = self._canvas, self._request
        if request.loop:
            if self._done < len(self.windows):
                return
            last = len(canvas.known) - 1
            if not self._cache.groups:
                self._cache.previous_BGChw = self._known(last, last + 1)[0][None]
        elif self._group == 0 and canvas.start > 0 and self._has(0):
            yield self._given_only(0, canvas.start)
        while (end := self._ready()) > self._group:
            latents, _ = self._known(self._group, end)
            frames = self._pixels(latents)
            first = canvas.frames_of(self._group)[0]
            self._group = end
            shown = frames[max(-first, 0) : request.num_frames - first]
            yield canvas.compose(max(first, 0), shown)
        end = canvas.frames_of(self._group - 1)[1]
        if self._group == len(canvas.known) and end < request.num_frames:
            yield self._given_only(end, request.num_frames)

    def _ready(self) -> int:
        """The end of the groups that can be decoded now, at most a few at a time."""
        end = self._group
        while self._has(end) and end - self._group < 2 * GROUP:
            end += 1
        return end

    @torch.no_grad()
    def _pixels(self, latents_GChw: Tensor) -> Frames:
        return to_pixels(self._bundle.vae.decode(latents_GChw[None], self._cache)[0])

    def _given_only(self, first: int, end: int) -> Frames:
        shape = (end - first, self._request.height, self._request.width, 3)
        return self._canvas.compose(first, np.zeros(shape, np.uint8))

    def _forget(self, before: int) -> None:
        """Drop what was decoded already and that no later window is shown; the anchor stays."""
        keep = before - len(self._recipe.history)
        self._latents = {k: v for k, v in self._latents.items() if k >= keep or k == 0}

    def _text(self, prompt: str) -> Tensor:
        return self._bundle.features(self._bundle.tokenizer.encode(prompt))
