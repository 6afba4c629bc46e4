"""Clips of different films that show the same: a shot in a trailer, a film that was cut anew.

Two clips are near-duplicates when colour grids over time, laid over one another at some lag, agree
for most of the shorter one. Candidates share a moment that looks alike; their search is exact, so
that who is whose duplicate depends on the clips alone. Clips of one film are not compared: an
interview looks alike from end to end, and a film is on one side of the split anyway.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from captioning.descriptor import GRID_SIZE, grids_of
from captioning.recipe import LikenessRecipe

Grids = npt.NDArray[np.uint8]  # (frames, 144), levels of 255
KEYS_AT_ONCE = 512


@dataclass(frozen=True, kw_only=True)
class Clip:
    """What is compared of a clip: film, signature, and an embedding if that is to be asked."""

    clip_id: str
    source_id: str
    signature: bytes
    embedding: npt.NDArray[np.float32] | None = None


def find_pairs(
    new: Sequence[Clip], known: Sequence[Clip], recipe: LikenessRecipe
) -> dict[str, list[str]]:
    """Of every new clip the near-duplicates among the known ones and the new ones before it."""
    clips = [*known, *new]
    found: dict[str, list[str]] = {clip.clip_id: [] for clip in new}
    grids = [grids_of(clip.signature) for clip in clips]
    first = len(known)
    pairs = {
        pair
        for pair in _candidates(grids, first, recipe)
        if clips[pair[0]].source_id != clips[pair[1]].source_id
    }
    alike = {pair for pair in pairs if show_the_same(grids[pair[0]], grids[pair[1]], recipe)}
    alike |= {
        pair
        for pair in _neighbours(clips, first, recipe.min_cosine)
        if clips[pair[0]].source_id != clips[pair[1]].source_id
    }
    for older, newer in sorted(alike):
        found[clips[newer].clip_id].append(clips[older].clip_id)
    return {clip_id: sorted(others) for clip_id, others in found.items()}


def show_the_same(one: Grids, other: Grids, recipe: LikenessRecipe) -> bool:
    """Whether two clips' grids (frames, 144) agree at some lag for most of the shorter one."""
    shorter, longer = sorted((one, other), key=len)
    least = max(recipe.min_frames, round(recipe.min_overlap * len(shorter)))
    if len(shorter) < recipe.min_frames:
        return False
    a, b = shorter.astype(np.float32), longer.astype(np.float32)
    # Frames of the shorter one that look like none of the longer one settle nearly all pairs.
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T
    near = squares <= GRID_SIZE * (2 * recipe.mean_distance) ** 2
    if near.any(axis=1).sum() < 0.9 * least:
        return False
    for lag in range(least - len(a), len(b) - least + 1):
        start, stop = max(0, -lag), min(len(a), len(b) - lag)
        if near[range(start, stop), range(start + lag, stop + lag)].sum() < 0.9 * (stop - start):
            continue
        apart = np.abs(a[start:stop] - b[start + lag : stop + lag]).reshape(stop - start, -1, 3)
        cells = apart.mean(axis=2)
        if (
            _without_worst(cells.mean(axis=1)).mean() <= recipe.mean_distance
            and _without_worst(cells.max(axis=1)).mean() <= recipe.cell_distance
        ):
            return True
    return False


def _candidates(
    grids: Sequence[Grids], first: int, recipe: LikenessRecipe
) -> Iterator[tuple[int, int]]:
    """(older, newer) indices of clips that share a moment; the newer is `first` or after."""
    if not any(map(len, grids)):
        return
    keys = np.concatenate([grid[:: recipe.key_every] for grid in grids]) - np.float32(127.5)
    owners = np.repeat(np.arange(len(grids)), [len(grid[:: recipe.key_every]) for grid in grids])
    # Frames whose mean levels are further apart than their distance may be need no comparison.
    levels = keys.mean(axis=1)
    order = np.argsort(levels, kind="stable")
    keys, owners, levels = keys[order], owners[order], levels[order]
    squares = (keys**2).sum(axis=1)
    asked = np.flatnonzero(owners >= first)
    limit = GRID_SIZE * recipe.key_distance**2
    for start in range(0, len(asked), KEYS_AT_ONCE):
        block = asked[start : start + KEYS_AT_ONCE]
        low = np.searchsorted(levels, levels[block[0]] - recipe.key_distance)
        high = np.searchsorted(levels, levels[block[-1]] + recipe.key_distance, "right")
        apart = squares[block, None] + squares[None, low:high] - 2 * keys[block] @ keys[low:high].T
        rows, columns = np.nonzero(apart <= limit)
        newer, older = owners[block[rows]], owners[low + columns]
        kept = older < newer
        # One number a pair: sorting numbers is much faster than sorting rows.
        for number in np.unique(older[kept] * len(grids) + newer[kept]).tolist():
            yield divmod(number, len(grids))


def _neighbours(clips: Sequence[Clip], first: int, min_cosine: float) -> Iterator[tuple[int, int]]:
    """(older, newer) indices of clips whose embeddings, if they have any, are so alike."""
    vectors = [clip.embedding for clip in clips]
    if first == len(clips) or any(vector is None for vector in vectors):
        return
    every = np.stack([vector for vector in vectors if vector is not None])
    for start in range(first, len(clips), KEYS_AT_ONCE):
        cosines = every[start : start + KEYS_AT_ONCE] @ every.T
        for row, older in np.argwhere(cosines >= min_cosine).tolist():
            if older < start + row:
                yield older, start + row


def groups(pairs: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Clips that are near-duplicates of one another, directly or by way of others; two or more.

    `pairs`: near-duplicates by clip id; those that are no key are gone, and join nobody.
    """
    leader = {clip_id: clip_id for clip_id in pairs}

    def find(clip_id: str) -> str:
        while leader[clip_id] != clip_id:
            leader[clip_id] = clip_id = leader[leader[clip_id]]
        return clip_id

    for one, others in pairs.items():
        for other in others:
            if other in leader:
                leader[find(other)] = find(one)
    members = defaultdict(list)
    for clip_id in sorted(leader):
        members[find(clip_id)].append(clip_id)
    return sorted(group for group in members.values() if len(group) > 1)


def judged(rows: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """(best clip, all clips) of each group of near-duplicates among these rows by clip id."""
    found = groups({clip_id: row["near_duplicates"] or [] for clip_id, row in rows.items()})
    return [(best(rows[clip_id] for clip_id in group), group) for group in found]


def stand_ins(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, str | None]:
    """`duplicate_of` of each of these clips, when they are all that there are of their groups."""
    copies = {clip_id: of for of, group in judged(rows) for clip_id in group if clip_id != of}
    return {**dict.fromkeys(rows), **copies}


def best(group: Iterable[Mapping[str, Any]]) -> str:
    """The clip to keep of several: most pixels, then longest, then sharpest, then by id."""
    return str(
        min(
            group,
            key=lambda row: (
                -row["width"] * row["height"],
                row["start_s"] - row["end_s"],
                -(row["sharpness"] or 0.0),
                row["clip_id"],
            ),
        )["clip_id"]
    )


def _without_worst(distances: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """All but the worst tenth: a frame or two beside a cut may show what the other does not."""
    return np.sort(distances)[: max(1, len(distances) - len(distances) // 10)]
