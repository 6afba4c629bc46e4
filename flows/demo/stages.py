"""The demo on a terminal: a heading for each stage, what happens in it, and how long it took."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

WIDTH = 110


class Stages:
    """Writes headings and lines with the time since the start, and keeps each stage's seconds.

    with stages.stage("train", "Training a model"):
        stages.say("vae 40 %")
    stages.wall_s["train"]
    """

    def __init__(self, write: Callable[[str], None] | None = None) -> None:
        self._write = write or (lambda line: print(line, flush=True))
        self._begun = time.monotonic()
        self.wall_s: dict[str, float] = {}

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._begun

    @contextmanager
    def stage(self, key: str, title: str) -> Iterator[None]:
        """One stage; its seconds are kept even if it fails."""
        self._write(f"\n{clock(self.elapsed_s)}  {title}")
        begun = time.monotonic()
        try:
            yield
        finally:
            self.wall_s[key] = round(time.monotonic() - begun, 1)

    def say(self, text: str) -> None:
        """What happens within a stage, one indented line for each of `text`'s."""
        for line in text.splitlines():
            shown = line if len(line) <= WIDTH else line[: WIDTH - 1] + "…"
            self._write(f"{clock(self.elapsed_s)}    {shown}")


def clock(seconds: float) -> str:
    """Minutes and seconds, `" 2:05"`."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes:2d}:{rest:02d}"
