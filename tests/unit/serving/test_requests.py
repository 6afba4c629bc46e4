"""A job as requests to a model, and what is delivered of them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from serving_fakes import FPS, FakeGenerator

from infra.catalog_models import GenerationJob
from infra.video import write_mp4
from modeling.generate import Generator
from modeling.tasks import Given
from serving.parts import Part, scaled
from serving.requests import plan
from tests.unit.modeling.small import small_bundle

RED, GREEN = (200, 30, 30), (10, 200, 30)
GIVEN_FPS = 16.0


def job(kind: str = "video", size: str = "96x64", seconds: float = 4.0, **params) -> GenerationJob:
    base = {"seed": 1, "steps": 1, "guidance": 0.0, "negative_prompt": ""}
    return GenerationJob(
        id="x", kind=kind, prompt="a", size=size, seconds=seconds, params=base | params
    )


def planned(job: GenerationJob, folder: Path, generator=FakeGenerator()) -> Part:  # noqa: B008
    (part,) = plan(generator, job, folder)
    return part


def delivered(part: Part, made: np.ndarray | None = None) -> np.ndarray:
    """What is delivered when the model makes `made`; frames of rising grey unless told."""
    request = part.request
    if made is None:
        levels = np.arange(request.num_frames, dtype=np.uint8)[:, None, None, None]
        shape = (request.num_frames, request.height, request.width, 3)
        made = np.broadcast_to(levels, shape)
    frames = np.stack(list(part.frames(iter(made))))
    assert frames.shape == (part.num_frames, part.height, part.width, 3)
    return frames


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture, a clip of two seconds that goes from red to green, and a mask of its right."""
    folder = tmp_path_factory.mktemp("inputs")
    Image.new("RGB", (96, 64), GREEN).save(folder / "input.png")
    shades = np.linspace(RED, GREEN, 32).astype(np.uint8)
    clip = np.broadcast_to(shades[:, None, None], (32, 64, 96, 3))
    write_mp4(clip, GIVEN_FPS, folder / "input.video")
    mask = np.full((64, 96), 255, np.uint8)
    mask[:, 48:] = 0
    Image.fromarray(mask).save(folder / "input.mask", format="PNG")
    return folder


CLIP = {"file": "input.video", "fps": GIVEN_FPS, "num_frames": 32}
EDIT = {"input": "input.video", "clip": CLIP, "start": None, "end": None, "box": None,
        "outside": False, "strength": None}  # fmt: skip


def near(frames: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool(np.abs(frames.astype(int) - colour).max() < 12)


def test_a_loop_keeps_its_end_at_any_frame_rate(folder):
    part = planned(job(seconds=3.9, loop=True, fps=24.0), folder)
    assert part.request.loop and part.request.num_frames == 32
    shown = delivered(part)[:, 0, 0, 0]
    assert (len(shown), shown[0], shown[-1]) == (94, 0, 31)


def test_a_first_and_a_last_clip_are_bridged_and_delivered_as_they_were(folder):
    keyframes = [{"at": 0.0, **CLIP}, {"at": "end", **CLIP}]
    part = planned(job(seconds=6.0, keyframes=keyframes, fps=GIVEN_FPS), folder)
    first, last = part.request.given
    assert (first.start, first.end, last.start, last.end) == (0, 16, 32, 48)
    frames = delivered(part)
    assert len(frames) == 96
    for kept in (frames[:32], frames[64:]):
        assert near(kept[0], RED) and near(kept[-1], GREEN)
    assert (frames[32:64, 0, 0, 0] == np.repeat(np.arange(16, 32), 2)).all()


def test_pictures_at_their_moments_are_held_long_enough_to_be_seen_by_the_model(folder):
    keyframes = [{"at": at, "file": "input.png"} for at in (0.0, 2.0, "end")]
    part = planned(job(keyframes=keyframes), folder)
    assert [(given.start, len(given.frames)) for given in part.request.given] == [
        (0, 1), (17, 4), (29, 4),
    ]  # fmt: skip
    assert part.request.num_frames == 33 and part.num_frames == 32
    assert all(near(given.frames, GREEN) for given in part.request.given)


def test_the_model_sees_every_keyframe_that_is_placed(folder):
    """`Canvas` says which groups are known: each keyframe has one, in every constellation."""
    from modeling.canvas import Canvas

    generator = Generator(small_bundle())
    vae = generator.bundle.vae
    for moments in ([0.0, "end"], ["end"], [0.0, 1.0], [1.3], [0.0, 1.1, "end"]):
        for seconds in (3.0, 3.2, 3.5):
            keyframes = [{"at": at, "file": "input.png"} for at in moments]
            asked = planned(job(seconds=seconds, keyframes=keyframes), folder, generator).request
            canvas = Canvas(asked, vae, 2, recent=2, coming=1)
            for given in asked.given:
                groups = [
                    canvas.frames_of(group) for group, known in enumerate(canvas.known) if known
                ]
                assert any(first < given.end and given.start < end for first, end in groups)


def test_what_the_model_is_given_comes_out_in_the_delivered_shape():
    """A square stays one, whatever shape the model's own frames have."""
    wide = np.zeros((100, 300, 3), np.uint8)
    wide[40:60, 140:160] = 255
    pressed = scaled(wide, 32, 48, aspect=2.0)  # to be delivered as 2:1
    shown = scaled(pressed, 100, 200, aspect=1.5)[..., 0] > 127
    rows, columns = np.flatnonzero(shown.any(1)), np.flatnonzero(shown.any(0))
    assert abs(np.ptp(rows) - np.ptp(columns)) <= 8
    assert abs(rows.mean() - 49.5) <= 2 and abs(columns.mean() - 99.5) <= 2


def test_video_to_video_departs_from_all_of_the_clip(folder):
    part = planned(job("edit", seconds=2.0, **EDIT | {"strength": 0.4}), folder)
    request = part.request
    assert (request.strength, request.given, request.num_frames) == (0.4, (), 16)
    assert near(request.source[0], RED) and len(delivered(part)) == 32 and part.fps == GIVEN_FPS


def test_infill_keeps_both_sides_as_they_were(folder):
    part = planned(job("edit", seconds=2.0, **EDIT | {"start": 0.5, "end": 1.5}), folder)
    assert [(given.start, given.end) for given in part.request.given] == [(0, 4), (12, 16)]
    frames = delivered(part)
    assert near(frames[0], RED) and near(frames[-1], GREEN) and len(frames) == 32
    assert (frames[8:24, 0, 0, 0] == np.repeat(np.arange(4, 12), 2)).all()


RIGHT = {"top": 0.0, "left": 0.5, "height": 1.0, "width": 0.5}


def test_inpaint_makes_the_inside_of_a_box_and_keeps_the_rest(folder):
    part = planned(job("edit", seconds=2.0, **EDIT | {"box": RIGHT}), folder)
    (given,) = part.request.given
    assert given.outside and given.box is not None and len(given.frames) == 16
    frames = delivered(part)
    assert near(frames[0, :, :48], RED) and near(frames[-1, :, :48], GREEN)
    assert (frames[-1, :, 48:] == 15).all()


def test_inpaint_of_a_moment_keeps_what_is_before_and_after(folder):
    fields = EDIT | {"box": RIGHT, "start": 0.5, "end": 1.5, "strength": 0.5}
    part = planned(job("edit", seconds=2.0, **fields), folder)
    whole = [given for given in part.request.given if given.whole]
    (boxed,) = [given for given in part.request.given if not given.whole]
    assert [(given.start, given.end) for given in whole] == [(0, 4), (12, 16)]
    assert (boxed.start, boxed.end) == (4, 12) and part.request.strength == 0.5
    frames = delivered(part)
    assert near(frames[0], RED) and near(frames[-1], GREEN)
    assert (frames[8, :, 48:] == 4).all() and not (frames[8, :, :48] == 4).any()


def test_outpaint_lays_the_whole_clip_into_the_box(folder):
    box = {"top": 0.25, "left": 0.25, "height": 0.5, "width": 0.5}
    part = planned(job("edit", seconds=2.0, **EDIT | {"box": box, "outside": True}), folder)
    (given,) = part.request.given
    assert not given.outside and near(given.frames[0, 10:20, 14:30], RED)
    frames = delivered(part)
    assert near(frames[0, 16:48, 24:72], RED) and (frames[0, :16] == 0).all()
    assert (frames[-1, 48:] == 15).all()


def test_a_mask_keeps_the_picture_where_it_is_opaque(folder):
    fields = {"input": "input.png", "mask": "input.mask", "n": 2}
    one, other = plan(FakeGenerator(), job("image", seconds=0.0, **fields), folder)
    assert (one.name, other.name) == ("image0", "image1")
    assert other.request.seed == one.request.seed + 1
    (given,) = one.request.given
    assert isinstance(given, Given) and given.mask_HW is not None
    assert given.mask_HW[:, :24].all() and not given.mask_HW[:, 24:].any()
    (picture,) = delivered(one)
    assert near(picture[:, :48], GREEN) and (picture[:, 48:] == 0).all()


@pytest.mark.parametrize("strength", [0.3, None])
def test_a_picture_without_a_mask_is_departed_from(folder, strength):
    part = planned(job("image", seconds=0.0, input="input.png", strength=strength, n=1), folder)
    assert part.request.given == ()
    assert (part.request.source is None) == (strength is None)


def test_a_small_model_makes_them_all(folder):
    """What is planned is what the model takes, and what is kept is kept to the end."""
    generator = Generator(small_bundle())
    asked = [
        job("edit", seconds=2.0, **EDIT | fields)
        for fields in ({"strength": 0.5}, {"start": 0.5, "end": 1.0}, {"box": RIGHT})
    ]
    asked.append(job(seconds=2.0, loop=True, input="input.png"))
    asked.append(job(seconds=2.0, keyframes=[{"at": 0.0, "file": "input.png"},
                                             {"at": "end", "file": "input.png"}]))  # fmt: skip
    mask = {"input": "input.png", "mask": "input.mask", "n": 1, "strength": 0.8}
    asked.append(job("image", seconds=0.0, **mask))
    for each in asked:
        part = planned(each, folder, generator)
        frames = delivered(part, generator.generate(part.request))
        assert frames.std() > 0
    assert near(frames[0, :, :48], GREEN)


def test_the_fakes_frame_rate_is_what_these_numbers_count_in():
    assert FPS == 8.0
