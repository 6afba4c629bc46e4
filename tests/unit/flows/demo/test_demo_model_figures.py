from dataclasses import replace
from types import SimpleNamespace

import numpy as np

from flows.demo.captions import parse_caption
from flows.demo.model_figures import (
    continues,
    extend_continuity,
    prompt_accuracy,
    spread,
    vae_oracle,
)
from flows.demo.plan import seen_attributes, unseen_attributes
from flows.demo.scene import Scene, render_frames

FPS, WINDOW = 8.0, 9
RED = seen_attributes()[0]
BLUE = next(a for a in seen_attributes() if a.color == "blue" and a.direction == "up")


def scene(attributes, start=(0.4, 0.5)):
    return Scene(attributes=attributes, start=start, speed=0.45, scale=1.0, tilt=0.0)


def frames(attributes, count=WINDOW, first=0, height=48, width=64):
    times = [(first + index) / FPS for index in range(count)]
    return render_frames(scene(attributes), times, height, width)


class Painter:
    """A generator that always paints what the prompt says, around what is given."""

    data = SimpleNamespace(num_frames=WINDOW)

    def __init__(self, paints=lambda attributes: attributes):
        self.paints = paints

    def native_size(self, width, height):
        return {1: (64, 48), 0: (48, 48), -1: (48, 64)}[int(np.sign(height - width))]

    def generate_many(self, requests):
        return [self._paint(request) for request in requests]

    def _paint(self, request):
        attributes = self.paints(parse_caption(request.prompt))
        height, width = request.height, request.width
        shift = 0
        for given in request.given:  # what is new goes on from where the given part stands
            shift = WINDOW - given.end if given.start else 0
        video = frames(attributes, request.num_frames, shift, height, width)
        for given in request.given:
            video[given.start : given.end] = given.frames
        return video


def clip(number, attributes, caption=""):
    return SimpleNamespace(
        clip_id=f"c{number}",
        caption=caption or attributes.caption(),
        split="val",
        frames_THWC=frames(attributes, 13),
    )


def test_a_model_that_paints_what_it_is_told_is_right_and_beats_the_floor():
    figures = prompt_accuracy(Painter(), unseen_attributes())
    assert figures["prompt_accuracy_seen"].n == 144 and figures["prompt_accuracy_unseen"].n == 96
    assert figures["prompt_accuracy_seen"].value > 0.98
    assert figures["prompt_accuracy_unseen"].value > 0.98
    assert figures["prompt_accuracy_shuffled"].n == 240
    assert figures["prompt_accuracy_shuffled"].value < 0.05


def test_the_seen_prompts_are_different_and_none_of_the_unseen():
    prompts = []

    class Listening(Painter):
        def _paint(self, request):
            prompts.append((request.prompt, request.seed))
            return super()._paint(request)

    prompt_accuracy(Listening(), unseen_attributes())
    seen, unseen = prompts[:144], prompts[144:]
    assert len({prompt for prompt, _ in seen}) == 144
    assert not {prompt for prompt, _ in seen} & {prompt for prompt, _ in unseen}
    assert len({seed for _, seed in prompts}) == 240  # equal words get different noise


def test_continuity_of_a_model_that_goes_on_in_both_directions():
    clips = [clip(i, a) for i, a in enumerate((RED, BLUE) * 4)]
    figure = extend_continuity(
        Painter(), clips, {f"c{i}": a for i, a in enumerate((RED, BLUE) * 4)}
    )
    assert (figure.value, figure.n) == (1.0, 8)
    assert "forward 4 of 4, backward 4 of 4" in figure.note


def test_continuity_of_a_model_that_paints_another_object():
    other = Painter(lambda attributes: replace(attributes, color="green"))
    shows = {f"c{i}": BLUE for i in range(4)}
    assert extend_continuity(other, [clip(i, BLUE) for i in range(4)], shows).value == 0


def test_a_clip_is_continued_with_what_it_shows_not_with_what_a_captioner_said():
    mistaken = [clip(i, RED, caption=BLUE.caption()) for i in range(4)]
    shows = {f"c{i}": RED for i in range(4)}
    assert extend_continuity(Painter(), mistaken, shows).value == 1


def test_unknown_on_both_sides_is_not_the_same_object():
    unknown = replace(RED, direction="none")
    assert not continues(unknown, unknown) and not continues(None, RED)
    assert continues(RED, replace(RED, background="light"))


def test_vae_oracle_sees_a_colour_that_the_vae_lost():
    class Vae:
        def encode(self, video):
            return video

        def decode(self, latents):
            return latents.flip(-1) if swapped else latents

    bundle = SimpleNamespace(vae=Vae(), recipe=SimpleNamespace(data=Painter.data), device="cpu")
    clips = [clip(1, RED), clip(2, BLUE), clip(3, RED)]
    shows = {"c1": RED, "c2": BLUE}  # the third shows no single shot: not judged
    swapped = False
    assert (vae_oracle(bundle, clips, shows).value, vae_oracle(bundle, clips, shows).n) == (1.0, 2)
    swapped = True
    assert vae_oracle(bundle, clips, shows).value == 0


def test_spread_is_even_and_never_more_than_there_is():
    assert spread(list(range(10)), 5) == [0, 2, 4, 6, 8] and spread([1, 2], 5) == [1, 2]
