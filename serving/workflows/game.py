"""Game: loops, flipbooks, plates, skyboxes and cutscenes for an engine.

title: Torchlight
items:
  - {type: loop, id: water, prompt: dark water from above, seconds: 4}
  - {type: flipbook, id: torch, prompt: a torch flame on black, rows: 8, columns: 8, tile: 128}
  - {type: skybox, id: dusk, prompt: a hazy desert sky at dusk}
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from PIL import Image
from pydantic import Field

from infra.video import each_frame, write_mp4
from serving.fields import MAX_SECONDS, MAX_SIDE, MIN_SECONDS, Prompt, Seconds, Seed
from serving.workflows import cutscene, flipbook, plates, skybox
from serving.workflows.cut import count_frames
from serving.workflows.deliverable import Findings, Take, Takes
from serving.workflows.loops import SHOWS, Seam, seamless
from serving.workflows.plan import MAX_TAKES, Name, Number, Part, Plan, PlanError, Shot

MAX_TEXTURE = 16384  # pixels of a side, the most that graphics cards take
MAX_LOOP_BYTES = 2 * 2**30  # decoded, to measure and mend the seam

Count = Annotated[int, Number, Field(ge=1, le=MAX_TAKES)]
Engine = Literal["unity", "unreal", "godot"]


class Item(Part):
    """What every asset has."""

    id: Name
    prompt: Prompt
    seed: Seed | None = None
    takes: Count = 1


class Loop(Item):
    """A video that goes on from its last frame to its first."""

    type: Literal["loop"]
    seconds: Seconds = 4


class Flipbook(Item):
    """A sheet of `rows` x `columns` square tiles. alpha "luma": light on black is cut out."""

    type: Literal["flipbook"]
    rows: Annotated[int, Number, Field(ge=1, le=32)] = 8
    columns: Annotated[int, Number, Field(ge=1, le=32)] = 8
    tile: Annotated[int, Number, Field(ge=16, le=512, multiple_of=2)] = 128
    padding: Annotated[int, Number, Field(ge=0, le=32)] = 0
    loop: bool = True
    alpha: Literal["none", "luma"] = "none"


class Plate(Item):
    """A background: a still, or with `seconds` a moving one, also as numbered frames."""

    type: Literal["plate"]
    seconds: Seconds | None = None


class Skybox(Item):
    """An equirectangular picture of `height` x twice that, and its cube faces."""

    type: Literal["skybox"]
    height: Annotated[int, Number, Field(ge=32, le=MAX_SIDE // 2, multiple_of=2)] = 512


class Cutscene(Part):
    """Shots that lead to others; see `serving.workflows.cutscene`."""

    type: Literal["cutscene"]
    id: Name
    shots: Annotated[tuple[cutscene.SceneShot, ...], Field(min_length=1, max_length=100)]


AnyItem = Annotated[Loop | Flipbook | Plate | Skybox | Cutscene, Field(discriminator="type")]


class GamePlan(Plan):
    """engines: whose metadata flipbooks come with."""

    items: Annotated[tuple[AnyItem, ...], Field(min_length=1, max_length=100)]
    engines: tuple[Engine, ...] = ("unity", "unreal", "godot")


class Game:
    """The deliverable. Each item gets a folder of its own, `{type}s/{id}/`."""

    kind = "game"

    @property
    def plan_model(self) -> type[Plan]:
        return GamePlan

    def shots(self, plan: GamePlan) -> Sequence[Shot]:
        seen: set[str] = set()
        shots: list[Shot] = []
        for index, item in enumerate(plan.items):
            where = f"items[{index}]"
            if item.id.casefold() in seen:
                raise PlanError(f"{where}.id", f"{item.id!r} is used twice; give each its own")
            seen.add(item.id.casefold())
            if isinstance(item, Cutscene):
                shots.extend(_scene_shots(item, where))
            else:
                shots.append(_shot(plan, item, where))
        return shots

    def files(self, plan: GamePlan, takes: Takes, folder: Path) -> Findings:
        metrics: dict[str, Any] = {}
        notes: list[str] = []
        for item in plan.items:
            place = folder / _FOLDERS[item.type] / item.id
            place.mkdir(parents=True)
            if isinstance(item, Cutscene):
                metrics[item.id] = _write_cutscene(plan, item, takes, place, notes)
            elif isinstance(item, Flipbook):
                metrics[item.id] = _write_flipbook(plan, item, takes.chosen(item.id), place, notes)
            elif isinstance(item, Loop):
                metrics[item.id] = _write_loop(plan, item, takes.chosen(item.id), place, notes)
            elif isinstance(item, Skybox):
                metrics[item.id] = _write_skybox(item, takes.chosen(item.id), place, notes)
            else:
                metrics[item.id] = _write_plate(takes.chosen(item.id), place)
        return Findings(metrics=metrics, notes=notes)

    def counts(self, plan: GamePlan) -> Mapping[str, int]:
        return {"items": len(plan.items)}


_FOLDERS = {
    "loop": "loops", "flipbook": "flipbooks", "plate": "plates", "skybox": "skyboxes",
    "cutscene": "cutscenes",
}  # fmt: skip


def _shot(plan: GamePlan, item: Loop | Flipbook | Plate | Skybox, where: str) -> Shot:
    shared: dict[str, Any] = {
        "id": item.id, "prompt": item.prompt, "seed": item.seed, "takes": item.takes,
        "field": where, "lasts": f"{where}.{'rows' if isinstance(item, Flipbook) else 'seconds'}",
    }  # fmt: skip
    if isinstance(item, Loop):
        return Shot(**shared, seconds=item.seconds, loop=True, max_bytes=MAX_LOOP_BYTES)
    if isinstance(item, Flipbook):
        side = max(item.rows, item.columns) * (item.tile + 2 * item.padding)
        if side > MAX_TEXTURE:
            raise PlanError(
                f"{where}.tile",
                f"makes a sheet of {side} pixels; textures have at most {MAX_TEXTURE}",
            )
        seconds = item.rows * item.columns / plan.fps
        if seconds > MAX_SECONDS:
            raise PlanError(
                f"{where}.rows", f"times columns are {seconds:.0f} s at {plan.fps:g} fps; "
                f"at most {MAX_SECONDS} s are made"
            )  # fmt: skip
        # Tiles are at most 512 pixels, so the sheet may be larger than any video.
        size = f"{item.tile}x{item.tile}"
        return Shot(**shared, seconds=max(seconds, MIN_SECONDS), loop=item.loop, size=size)
    if isinstance(item, Skybox):
        return Shot(**shared, picture=True, size=f"{2 * item.height}x{item.height}")
    if item.seconds is None:
        return Shot(**shared, picture=True)
    return Shot(**shared, seconds=item.seconds)


def scene_id(item: Cutscene, shot: str) -> str:
    """A shot's id among all of the plan's."""
    return f"{item.id}_{shot}"


def _scene_shots(item: Cutscene, where: str) -> Iterator[Shot]:
    cutscene.check(item.shots, where)
    for index, shot in enumerate(item.shots):
        parent = cutscene.parent_of(item.shots, index, where)
        yield Shot(
            id=scene_id(item, shot.id),
            field=f"{where}.shots[{index}]",
            lasts=f"{where}.shots[{index}].seconds",
            prompt=shot.prompt,
            seconds=shot.seconds,
            seed=shot.seed,
            parent=None if parent is None else scene_id(item, parent),
        )


def _write_loop(
    plan: GamePlan, item: Loop, take: Take, place: Path, notes: list[str]
) -> dict[str, Any]:
    frames = np.stack(list(each_frame(take.path)))
    repaired, seam = seamless(frames)
    target = place / f"{item.id}.mp4"
    if seam.is_repaired:
        write_mp4(repaired, plan.fps, target)
    else:
        shutil.copyfile(take.path, target)  # as it was made, not encoded once more
    _say(notes, item.id, seam, "frames")
    return {"frames": len(repaired), "fps": plan.fps, **seam.as_metrics()}


def _say(notes: list[str], name: str, seam: Seam, unit: str) -> None:
    if seam.is_repaired:
        notes.append(
            f"{name}: the seam was {seam.before:.1f} times an ordinary step, so {seam.removed} "
            f"{unit} were cross-blended; the largest step of the blend is {seam.after:.1f} times"
        )
    if seam.after > SHOWS:
        notes.append(f"{name}: the seam still shows ({seam.after:.1f}); make another take")


def _write_flipbook(
    plan: GamePlan, item: Flipbook, take: Take, place: Path, notes: list[str]
) -> dict[str, Any]:
    frames = np.stack(list(each_frame(take.path, (item.tile, item.tile))))
    metrics: dict[str, Any] = {}
    if item.loop:
        frames, seam = seamless(frames)
        _say(notes, item.id, seam, "frames")
        metrics = seam.as_metrics()
    count = item.rows * item.columns
    chosen = [frames[index] for index in flipbook.spread(len(frames), count, loops=item.loop)]
    tiles = [flipbook.with_alpha(tile) if item.alpha == "luma" else tile for tile in chosen]
    sheet = flipbook.Sheet(
        name=item.id, rows=item.rows, columns=item.columns, tile=item.tile, padding=item.padding,
        # As fast as it was made, whatever was left out.
        fps=round(count / (len(frames) / plan.fps), 3),
        loops=item.loop,
    )  # fmt: skip
    flipbook.draw(sheet, tiles).save(place / f"{item.id}.png", format="PNG")
    flipbook.write_metadata(sheet, place, plan.engines)
    if not sheet.is_power_of_two:
        width, height = sheet.size
        notes.append(
            f"{item.id}: the sheet is {width}x{height}, not powers of two; "
            "some texture compressions need them"
        )
    return {"tiles": count, "sheet": list(sheet.size), "fps": sheet.fps, **metrics}


def _write_skybox(item: Skybox, take: Take, place: Path, notes: list[str]) -> dict[str, Any]:
    with Image.open(take.path) as picture:
        sky = skybox.equirectangular(np.asarray(picture.convert("RGB")), item.height)
    skybox.write(sky, place)
    _say(notes, item.id, sky.wrap, "columns")
    notes.append(
        f"{item.id}: the model makes flat pictures; sides and poles are joined, but straight "
        "lines are not those of a true panorama. 8 bits a channel, no HDR"
    )
    return {"height": item.height, **sky.wrap.as_metrics()}


def _write_plate(take: Take, place: Path) -> dict[str, Any]:
    shutil.copyfile(take.path, place / f"{take.shot}{take.path.suffix}")
    if take.path.suffix == ".png":
        return {"frames": 1}
    return {"frames": plates.write_sequence(take.path, place / take.shot)}


def _write_cutscene(
    plan: GamePlan, item: Cutscene, takes: Takes, place: Path, notes: list[str]
) -> dict[str, Any]:
    durations: dict[str, float] = {}
    for shot in item.shots:
        take = takes.chosen(scene_id(item, shot.id))
        shutil.copyfile(take.path, place / f"{shot.id}.mp4")
        durations[shot.id] = count_frames(take.path)[0] / plan.fps
        cutscene.write_subtitles(shot.dialogue, durations[shot.id], place / f"{shot.id}.vtt")
        needed_s = sum(cutscene.reading_s(line) for line in shot.dialogue)
        if needed_s > durations[shot.id]:
            notes.append(
                f"{scene_id(item, shot.id)}: its words take {needed_s:.1f} s to read and it lasts "
                f"{durations[shot.id]:.1f} s; give it more seconds, or say less"
            )
    found = cutscene.graph(item.shots, durations, item.id)
    cutscene.write_graph(found, place / "cutscene.json")
    choices = sum(len(shot.choices) for shot in item.shots)
    return {"shots": len(item.shots), "choices": choices}


game = Game()
