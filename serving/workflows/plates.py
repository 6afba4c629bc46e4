"""A take as numbered pictures, which compositing programs take as a plate."""

from pathlib import Path

from PIL import Image

from infra.video import each_frame


def write_sequence(path: Path, folder: Path) -> int:
    """`folder`/{name}.0001.png and on, RGB, 8 bits; returns how many."""
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    for count, frame in enumerate(each_frame(path), 1):
        target = folder / f"{folder.name}.{count:04}.png"
        Image.fromarray(frame).save(target, format="PNG", compress_level=4)
    return count
