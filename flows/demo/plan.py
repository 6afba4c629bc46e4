"""What the demo's films will show, decided before a pixel is drawn: a pure function of a seed."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from flows.demo.scene import (
    BACKGROUNDS,
    COLORS,
    DIRECTIONS,
    SHAPES,
    SIZES,
    Attributes,
    Scene,
    all_attributes,
    position,
    random_scene,
)

FORMATS = (("mp4", "h264"), ("mkv", "h264"), ("mkv", "vp9"), ("webm", "vp9"))
FRAME_SIZES = ((256, 192), (208, 208), (192, 256))  # (width, height): 4:3, 1:1, 3:4
FRAME_RATES = (24, 30)
NUM_SHOTS = (4, 12)
SPAN_S = (1.6, 1.95)
TRANSITION_FRAMES = (8, 12)
KINDS, KIND_SHARES = ("cut", "dissolve", "fade"), (0.6, 0.2, 0.2)
CAPTIONED_EVERY = 3
STARTS = 24  # places that are tried for an object
APART = 0.3  # objects of one background across a boundary, over the shorter side
FOLDERS = ("", "", "Day 1", "Day 2/B-cam", "archive 2019", "für Anna")
PLACES = (
    "harbour", "market", "Café", "old mill", "rooftops", "Übergang", "north shore", "plaža",
    "station", "orchard", "river bend", "日の出",
)  # fmt: skip
ENDINGS = ("", "_v2", " (final)", "_v2 (final)", " - graded", "_export")


@dataclass(frozen=True, kw_only=True)
class Shot:
    """One scene and how many frames it is on screen alone, transitions not counted."""

    scene: Scene
    num_frames: int


@dataclass(frozen=True, kw_only=True)
class Transition:
    """How one shot becomes the next; a cut has no frames of its own."""

    kind: str
    num_frames: int


@dataclass(frozen=True, kw_only=True)
class Film:
    """A film to be written; `path` is relative to the footage folder."""

    path: str
    codec: str
    width: int
    height: int
    fps: int
    captioned: bool
    shots: tuple[Shot, ...]
    transitions: tuple[Transition, ...]  # one fewer than shots

    @property
    def num_frames(self) -> int:
        alone = sum(shot.num_frames for shot in self.shots)
        return alone + sum(transition.num_frames for transition in self.transitions)

    def spans(self) -> Iterator[tuple[int, int]]:
        """Each shot's frames (first, past the last) on screen alone."""
        start = 0
        for index, shot in enumerate(self.shots):
            yield start, start + shot.num_frames
            if index < len(self.transitions):
                start += shot.num_frames + self.transitions[index].num_frames

    def boundaries(self) -> Iterator[tuple[str, int, int]]:
        """(kind, start, end): the transition's frames, end excluded; a cut starts and ends at
        the first frame of the new shot."""
        for transition, (_, end) in zip(self.transitions, self.spans(), strict=False):
            yield transition.kind, end, end + transition.num_frames


def unseen_attributes() -> list[Attributes]:
    """The 24 combinations that no film shows.

    One for each shape, colour and size, with directions and backgrounds spread over them evenly, so
    that every value and every pair of values stays in the films.
    """
    directions, backgrounds = tuple(DIRECTIONS), tuple(BACKGROUNDS)
    return [
        Attributes(
            shape=shape,
            color=color,
            size=size,
            direction=directions[(c + z + 2 * s) % len(directions)],
            background=backgrounds[(s + c + 2 * z) % len(backgrounds)],
        )
        for s, shape in enumerate(SHAPES)
        for c, color in enumerate(COLORS)
        for z, size in enumerate(SIZES)
    ]


def seen_attributes() -> list[Attributes]:
    """The 264 combinations that films may show."""
    unseen = set(unseen_attributes())
    return [attributes for attributes in all_attributes() if attributes not in unseen]


def plan_films(films: int, seed: int) -> list[Film]:
    """The films of a world. Formats, frame sizes, rates and combinations appear evenly."""
    rng = np.random.default_rng([seed, 1])
    decks = {captioned: _Deck(rng) for captioned in (True, False)}
    looks = [(name, size, rate) for name in FORMATS for size in FRAME_SIZES for rate in FRAME_RATES]
    plans: list[Film] = []
    made = dict.fromkeys(FORMATS, 0)
    lengths = list(range(NUM_SHOTS[0], NUM_SHOTS[1] + 1))
    order: list[int] = []
    while len(plans) < films:
        for look in rng.permutation(len(looks))[: films - len(plans)]:
            (container, codec), (width, height), fps = looks[look]
            captioned = made[container, codec] % CAPTIONED_EVERY == 0
            made[container, codec] += 1
            order = order or [lengths[i] for i in rng.permutation(len(lengths))]
            shots, transitions = _montage(order.pop(), decks[captioned], rng, width, height, fps)
            plans.append(
                Film(
                    path=f"{_stem(len(plans) + 1, rng)}.{container}",
                    codec=codec,
                    width=width,
                    height=height,
                    fps=fps,
                    captioned=captioned,
                    shots=shots,
                    transitions=transitions,
                )
            )
    return plans


class _Deck:
    """Deals the seen combinations evenly: all of them in a random order, again and again."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._cards: list[Attributes] = []

    def deal(self, before: Attributes | None, *, elsewhere: bool = False) -> Attributes:
        """The next combination that looks different from the shot before; `elsewhere`: on another
        background, whatever the colour."""
        if len(self._cards) < 24:  # never so few that none of them would do
            cards = seen_attributes()
            self._cards += [cards[i] for i in self._rng.permutation(len(cards))]
        for index, card in enumerate(self._cards):
            if before is None or _differs(before, card, elsewhere):
                return self._cards.pop(index)
        raise AssertionError("a full deck always holds a different background")

    def put_back(self, card: Attributes) -> None:
        """The card will be the next that is dealt, if it fits."""
        self._cards.insert(0, card)


def _differs(before: Attributes, after: Attributes, elsewhere: bool) -> bool:
    if before.background != after.background:
        return True
    return not elsewhere and before.color != after.color


def _montage(
    num_shots: int, deck: _Deck, rng: np.random.Generator, width: int, height: int, fps: int
) -> tuple[tuple[Shot, ...], tuple[Transition, ...]]:
    shots: list[Shot] = []
    transitions: list[Transition] = []
    for _ in range(num_shots):
        if shots:
            transitions.append(_transition(rng))
            scene = _next_scene(shots[-1], deck, rng, width, height, fps)
        else:
            scene = random_scene(deck.deal(None), rng)
        shots.append(Shot(scene=scene, num_frames=round(float(rng.uniform(*SPAN_S)) * fps)))
    return tuple(shots), tuple(transitions)


def _next_scene(
    before: Shot, deck: _Deck, rng: np.random.Generator, width: int, height: int, fps: int
) -> Scene:
    """A scene that a viewer tells from the one before."""
    shown = before.scene.attributes
    card = deck.deal(shown)
    scene = _apart(before, random_scene(card, rng), rng, width, height, fps)
    if scene is None:
        scene = random_scene(deck.deal(shown, elsewhere=True), rng)
        deck.put_back(card)
    return scene


def _transition(rng: np.random.Generator) -> Transition:
    kind = str(rng.choice(KINDS, p=KIND_SHARES))
    num_frames = int(rng.integers(TRANSITION_FRAMES[0], TRANSITION_FRAMES[1] + 1))
    if kind == "cut":
        return Transition(kind=kind, num_frames=0)
    if kind == "fade" and num_frames % 2 == 0:
        num_frames -= 1 if num_frames > TRANSITION_FRAMES[0] else -1  # odd: the middle is black
    return Transition(kind=kind, num_frames=num_frames)


def _apart(
    before: Shot, scene: Scene, rng: np.random.Generator, width: int, height: int, fps: int
) -> Scene | None:
    """On one background a new object must also appear elsewhere, or nobody would see a cut.

    None when no such place was found: large objects may leave no room for it.
    """
    if before.scene.attributes.background != scene.attributes.background:
        return scene
    old = position(before.scene, before.num_frames / fps, height, width)
    size = np.asarray([width, height])
    for _ in range(STARTS):
        way = np.subtract(old, position(scene, 0, height, width))
        way = (way + size / 2) % size - size / 2
        if float(np.hypot(*way)) >= APART * min(width, height):
            return scene
        start = (float(rng.uniform()), float(rng.uniform()))
        scene = replace(scene, start=start)
    return None


def _stem(number: int, rng: np.random.Generator) -> str:
    folder = FOLDERS[rng.integers(len(FOLDERS))]
    place = PLACES[rng.integers(len(PLACES))]
    name = f"Reel {number:02d} - {place}{ENDINGS[rng.integers(len(ENDINGS))]}"
    return f"{folder}/{name}" if folder else name
