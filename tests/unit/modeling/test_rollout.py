import dataclasses

import numpy as np
import torch

from modeling.canvas import Canvas
from modeling.codec import DecoderCache
from modeling.generate import Generator
from modeling.recipes import RolloutRecipe
from modeling.rollout import Rollout
from modeling.sampler import sample
from modeling.tasks import Box, Request, bridge, extend, infill, inpaint, loop
from tests.unit.modeling.small import moving_clip, small_bundle

CLIP = moving_clip("clip", 24).frames_THWC
BUNDLE = small_bundle()


def request(num_frames: int) -> Request:
    return Request(prompt="a red ball", num_frames=num_frames, height=48, width=48, seed=3, steps=1)


def canvas(asked: Request) -> Canvas:
    return Canvas(asked, BUNDLE.vae, 2, recent=2, coming=1)


def test_borders_of_groups_fall_on_the_seams() -> None:
    forward = canvas(extend(request(20), CLIP[:7]))
    assert (forward.start, forward.known) == (2, [True, True, *[False] * 4])
    assert forward.frames_of(1) == (3, 7)
    backward = canvas(extend(request(20), CLIP[:7], "backward"))
    assert (backward.start, backward.known) == (0, [False] * 4 + [True])
    assert backward.frames_of(4) == (13, 17)
    both = canvas(bridge(request(20), CLIP[:5], CLIP[:7]))
    assert (both.start, both.known) == (0, [True, True, False, False, True])


def test_a_frame_that_is_not_given_never_changes_the_latents_of_one_that_is() -> None:
    asked = infill(request(24), CLIP, start=7, end=14)
    other = CLIP.copy()
    other[7:14] = 255 - other[7:14]
    one, two = (canvas(r).span(0, 6) for r in (asked, infill(request(24), other, start=7, end=14)))
    assert one.given_Gyx.flatten().tolist() == [True, True, False, False, True, True]
    assert torch.equal(one.latents_GChw, two.latents_GChw)
    whole = BUNDLE.vae.encode(torch.from_numpy(CLIP[None, 2:7].copy()).float() / 127.5 - 1)[0]
    torch.testing.assert_close(one.latents_GChw[:2], whole)


def test_what_a_box_hides_never_changes_what_is_given() -> None:
    box = Box(top=0, left=1 / 3, height=1, width=1 / 3)
    other = CLIP.copy()
    other[:, :, 16:32] = 255 - other[:, :, 16:32]
    one, two = (canvas(inpaint(request(24), clip, box)).span(0, 6) for clip in (CLIP, other))
    expected = torch.tensor([True, False, True]).expand(6, 3, 3)
    assert torch.equal(one.given_Gyx, expected)
    assert torch.equal(one.latents_GChw, two.latents_GChw)


def test_a_long_video_comes_in_pieces_that_need_little_memory() -> None:
    rollout, pieces, kept = Rollout(BUNDLE, request(96)), [], []
    while (task := rollout.task()) is not None:
        (latents,) = sample(BUNDLE.dit, [task], BUNDLE.recipe.dit.sampler)
        pieces.append(np.concatenate(list(rollout.take(latents))))
        kept.append(len(rollout._latents))
    assert [len(piece) for piece in pieces] == [13] + [8] * 10 + [3]
    assert max(kept) <= 5  # two to go on from, one of history, the anchor


def test_streamed_decoding_is_what_decoding_in_one_go_gives() -> None:
    """Latents of all windows kept aside and decoded at once: no seam between the pieces."""
    rollout, pieces, made = Rollout(BUNDLE, request(29)), [], torch.zeros(0)
    while (task := rollout.task()) is not None:
        (latents,) = sample(BUNDLE.dit, [task], BUNDLE.recipe.dit.sampler)
        known = int(task.given_Gyx.sum())
        made = torch.cat([made, latents[known:]]) if known else latents
        pieces += rollout.take(latents)
    video = np.concatenate(pieces)
    whole = BUNDLE.vae.decode(made[None])[0]
    pixels = ((whole.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).numpy()
    assert np.abs(video.astype(int) - pixels).max() <= 1


def test_later_windows_see_recent_history_and_the_anchor_at_falling_resolution() -> None:
    recipe = RolloutRecipe(history=(1, 2), anchor=True, far_s=9.0)
    dit = dataclasses.replace(BUNDLE.recipe.dit, rollout=recipe)
    bundle = dataclasses.replace(BUNDLE, recipe=dataclasses.replace(BUNDLE.recipe, dit=dit))
    rollout, tasks, made = Rollout(bundle, request(40)), [], []
    while (task := rollout.task()) is not None:
        (latents,) = sample(bundle.dit, [task], bundle.recipe.dit.sampler)
        made.append(latents)
        list(rollout.take(latents))
        tasks.append(task)
    assert tasks[0].opens and not tasks[0].memory
    # The second window begins with group 2: group 1 as it is, group 0 coarse, no other anchor.
    near, far = tasks[1].memory
    assert torch.equal(near.latents_GChw[0], made[0][1])
    assert far.latents_GChw.shape[2:] == (4, 4) and made[0].shape[2:] == (6, 6)
    assert [float(m.seconds_G) * 8 for m in (near, far)] == [-5.5, -9.5]
    anchor = tasks[2].memory[-1]
    assert torch.equal(anchor.latents_GChw, made[0][:1]) and float(anchor.seconds_G) == -9
    assert len(tasks[2].memory) == 3 and not tasks[2].opens


def test_a_loop_is_decoded_across_its_seam() -> None:
    """The first frames follow from the last latent frame, as any follow from the one before."""
    rollout = Rollout(BUNDLE, loop(request(16)))
    while (task := rollout.task()) is not None:
        (latents,) = sample(BUNDLE.dit, [task], BUNDLE.recipe.dit.sampler)
        pieces = list(rollout.take(latents))
    groups = torch.stack([rollout._latents[index] for index in (1, 2, 3, 4)])
    assert torch.equal(latents[-1], groups[0])  # the last window ended with the first group
    decoded = BUNDLE.vae.decode(groups[None], DecoderCache(previous_BGChw=groups[None, -1:]))[0]
    pixels = ((decoded.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).numpy()
    assert np.abs(np.concatenate(pieces).astype(int) - pixels).max() <= 1


def test_a_video_is_the_same_alone_and_beside_others_of_other_steps() -> None:
    generator = Generator(BUNDLE)
    asked = [request(30), dataclasses.replace(request(13), steps=2), loop(request(16))]
    for alone, video in zip(asked, generator.generate_many(asked), strict=True):
        assert np.abs(generator.generate(alone).astype(int) - video).max() <= 1
