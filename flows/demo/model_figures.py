"""What the model came to, judged by the oracle. Torch is imported by `modeling`, when it runs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from flows.demo.data_figures import rate_note
from flows.demo.figures import Figure
from flows.demo.oracle import UNKNOWN, read_attributes
from flows.demo.plan import seen_attributes
from flows.demo.scene import Attributes
from flows.demo.truth import Rate, attribute_accuracy

if TYPE_CHECKING:
    from modeling.bundle import Bundle
    from modeling.data import Clip
    from modeling.generate import Generator
    from modeling.tasks import Request

Frames = npt.NDArray[np.uint8]
T = TypeVar("T")

RECONSTRUCTED = 240
SEEN_PROMPTS = 144
SEEDS_OF_UNSEEN = 4
EXTENDED, GIVEN_FRAMES, NEW_FRAMES = 40, 9, 8
SHAPES = ((256, 192), (208, 208), (192, 256))  # (width, height) asked for, in turn
SAME = ("shape", "color", "direction")  # what must hold across a seam


def vae_oracle(
    bundle: "Bundle", clips: Sequence["Clip"], shows: Mapping[str, Attributes]
) -> Figure:
    """Clips whose first window still shows every true attribute after the VAE."""
    import torch

    from modeling.data import to_float, to_pixels

    chosen = spread([clip for clip in clips if clip.clip_id in shows], RECONSTRUCTED)
    pairs, untouched = [], []
    with torch.no_grad():
        for clip in chosen:
            window = clip.frames_THWC[: bundle.recipe.data.num_frames]
            video = to_float(window)[None].to(bundle.device)
            again = bundle.vae.decode(bundle.vae.encode(video))[0]
            truth = shows[clip.clip_id]
            pairs.append((read_attributes(to_pixels(again)), truth))
            untouched.append((read_attributes(window), truth))
    rates, before = attribute_accuracy(pairs), attribute_accuracy(untouched)
    note = f"{rate_note(rates)}; the same windows before the VAE: {before['all'].value:.3f}"
    return Figure(value=rates["all"].value, n=rates["all"].n, note=note)


def prompt_accuracy(generator: "Generator", unseen: Sequence[Attributes]) -> dict[str, Figure]:
    """Prompts of combinations that the films show and of those they never show, and the floor."""
    prompts = {
        "seen": spread(seen_attributes(), SEEN_PROMPTS),
        "unseen": [attributes for attributes in unseen for _ in range(SEEDS_OF_UNSEEN)],
    }
    wanted = [*prompts["seen"], *prompts["unseen"]]
    requests = [_request(generator, attributes, seed) for seed, attributes in enumerate(wanted)]
    read = [read_attributes(video) for video in generator.generate_many(requests)]
    parts = {"seen": slice(0, len(prompts["seen"])), "unseen": slice(len(prompts["seen"]), None)}
    figures = {}
    for name, part in parts.items():
        rates = attribute_accuracy(zip(read[part], wanted[part], strict=True))
        figures[f"prompt_accuracy_{name}"] = _all_right(rates)
    half = len(wanted) // 2
    others = [*wanted[half:], *wanted[:half]]
    floor = attribute_accuracy(zip(read, others, strict=True))
    return {**figures, "prompt_accuracy_shuffled": _all_right(floor)}


def extend_continuity(
    generator: "Generator", clips: Sequence["Clip"], shows: Mapping[str, Attributes]
) -> Figure:
    """Real clips that the model continues, half of them forward, half backward: the same object
    in the given and the new part. What is given is the end of the clip that leaves the object room
    to come from or to go to: seen from its first frames, it was outside the frame a second ago.
    The prompt says what the clip shows, as who continues it would; a caption made here that is
    wrong would ask for another object."""
    from modeling.tasks import Request, extend

    requests, forward = [], [index % 2 == 0 for index in range(EXTENDED)]
    known = [clip for clip in clips if clip.clip_id in shows]
    for seed, clip in enumerate(spread(known, EXTENDED)):
        part = slice(GIVEN_FRAMES) if forward[seed] else slice(-GIVEN_FRAMES, None)
        given = clip.frames_THWC[part]
        request = Request(
            prompt=shows[clip.clip_id].caption(),
            num_frames=GIVEN_FRAMES + NEW_FRAMES,
            height=given.shape[1],
            width=given.shape[2],
            seed=seed,
        )
        requests.append(extend(request, given, "forward" if forward[seed] else "backward"))
    kept: dict[str, list[bool]] = {"forward": [], "backward": []}
    for ahead, video in zip(forward, generator.generate_many(requests), strict=False):
        seam = GIVEN_FRAMES if ahead else NEW_FRAMES
        before, after = read_attributes(video[:seam]), read_attributes(video[seam:])
        kept["forward" if ahead else "backward"].append(continues(before, after))
    rate = Rate(right=sum(sum(marks) for marks in kept.values()), n=len(requests))
    low, high = rate.interval
    ways = ", ".join(f"{name} {sum(marks)} of {len(marks)}" for name, marks in kept.items())
    note = f"{ways}; 95 %: {low:.3f} to {high:.3f}; shape, colour and direction on both sides"
    return Figure(value=rate.value, n=rate.n, note=note)


def continues(before: Attributes | None, after: Attributes | None) -> bool:
    """True when both parts show one object: its shape, colour and direction known and the same."""
    if before is None or after is None:
        return False
    one, other = asdict(before), asdict(after)
    return all(one[name] == other[name] != UNKNOWN for name in SAME)


def spread(items: Sequence[T], count: int) -> list[T]:
    """Up to `count` of `items`, evenly spaced."""
    count = min(count, len(items))
    return [items[index * len(items) // count] for index in range(count)]


def _request(generator: "Generator", attributes: Attributes, seed: int) -> "Request":
    from modeling.tasks import Request

    height, width = generator.native_size(*SHAPES[seed % len(SHAPES)])
    return Request(
        prompt=attributes.caption(),
        num_frames=generator.data.num_frames,
        height=height,
        width=width,
        seed=seed,
    )


def _all_right(rates: Mapping[str, Rate]) -> Figure:
    return Figure(value=rates["all"].value, n=rates["all"].n, note=rate_note(rates))
