"""Moving pictures of a cut: the clean one, and the animatic with slates and timecode burnt in."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from infra.video import Frames, write_mp4
from serving.workflows.cut import Panel, frames_of
from serving.workflows.lettering import font, timecode, wrapped

MIN_WIDTH = 480  # smaller pictures are enlarged, or nobody could read the words
BACK = (22, 24, 28)
BRIGHT = (244, 243, 240)
DIM = (150, 154, 160)
TITLE_SLATES = 3  # the title stays as long as so many slates


def write_cut(panels: Sequence[Panel], fps: float, path: Path) -> None:
    """The chosen takes, one after the other, and nothing else."""
    size = (panels[0].height, panels[0].width)
    write_mp4((frame for panel in panels for frame in frames_of(panel, size)), fps, path)


def write_animatic(
    panels: Sequence[Panel], title: str, fps: float, slate_s: float, path: Path
) -> None:
    """The cut under a strip with shot, take, words and timecode; a slate before each shot.

    The timecode is the cut's, 00:00:00:00 at its first frame; it stands still under slates.
    """
    write_mp4(_frames(panels, title, fps, slate_s), fps, path)


def _frames(panels: Sequence[Panel], title: str, fps: float, slate_s: float) -> Iterator[Frames]:
    look = _Look(panels[0].width, panels[0].height)
    if slate_s > 0:
        seconds = sum(panel.num_frames for panel in panels) / fps
        card = look.card(title, [f"{len(panels)} shots", f"{seconds:.1f} s at {fps:g} fps"])
        for _ in range(max(1, round(TITLE_SLATES * slate_s * fps))):
            yield card
    for panel in panels:
        if slate_s > 0:
            slate = look.slate(panel, fps)
            for _ in range(max(1, round(slate_s * fps))):
                yield slate
        strip = look.strip(panel)
        for index, frame in enumerate(frames_of(panel, look.picture)):
            yield look.burnt_in(frame, strip, timecode(panel.start + index, fps))


class _Look:
    """Sizes and colours of an animatic: the picture, and a strip of words below it."""

    def __init__(self, width: int, height: int) -> None:
        scale = -(-MIN_WIDTH // width) if width < MIN_WIDTH else 1
        self.width, self.height = width * scale, height * scale
        self.picture = (self.height, self.width)
        self.text = max(14, self.width // 44)
        self.line = round(self.text * 1.35)
        self.pad = self.text // 2
        self.strip_height = 3 * self.line + 2 * self.pad
        self.strip_height += (self.height + self.strip_height) % 2

    def strip(self, panel: Panel) -> Image.Image:
        """Everything in the strip but the timecode."""
        strip = Image.new("RGB", (self.width, self.strip_height), BACK)
        draw = ImageDraw.Draw(strip)
        bold, plain = font(self.text, bold=True), font(self.text)
        name = f"{panel.take.shot}  take {panel.take.number}"
        draw.text((self.pad, self.pad), name, BRIGHT, bold)
        room = self.width - 2 * self.pad
        left = self.pad + bold.getlength(name) + self.text
        right = self.width - self.pad - plain.getlength("00:00:00:00") - self.text
        about = panel.notes.get("camera") or panel.notes.get("scene", "")
        if about and right - left > 4 * self.text:
            (line,) = wrapped(about, plain, int(right - left), lines=1)
            draw.text((left, self.pad), line, DIM, plain)
        words = panel.notes.get("dialogue") or panel.take.prompt
        ink = BRIGHT if panel.notes.get("dialogue") else DIM
        for number, line in enumerate(wrapped(words, plain, room, lines=2)):
            draw.text((self.pad, self.pad + (number + 1) * self.line), line, ink, plain)
        return strip

    def burnt_in(self, frame: Frames, strip: Image.Image, code: str) -> Frames:
        """The frame over its strip."""
        picture = Image.new("RGB", (self.width, self.height + self.strip_height))
        picture.paste(Image.fromarray(frame), (0, 0))
        picture.paste(strip, (0, self.height))
        at = (self.width - self.pad, self.height + self.pad)
        ImageDraw.Draw(picture).text(at, code, BRIGHT, font(self.text), anchor="ra")
        return np.asarray(picture)

    def slate(self, panel: Panel, fps: float) -> Frames:
        """What a clapper board says."""
        notes = panel.notes
        lines = [
            notes.get("scene", ""),
            f"{panel.num_frames / fps:.2f} s  ·  in {timecode(panel.start, fps)}",
            f"seed {panel.take.seed}  ·  model version {panel.take.model_version}",
            "  ·  ".join(notes[k] for k in ("framing", "camera", "lens") if notes.get(k)),
        ]
        return self.card(f"{panel.take.shot}   take {panel.take.number}", lines)

    def card(self, title: str, lines: Sequence[str]) -> Frames:
        """A full frame of words."""
        height = self.height + self.strip_height
        picture = Image.new("RGB", (self.width, height), BACK)
        draw = ImageDraw.Draw(picture)
        big, plain = font(2 * self.text, bold=True), font(self.text)
        room = self.width - 8 * self.pad
        heading = wrapped(title, big, room, lines=2)
        body = [part for line in lines if line for part in wrapped(line, plain, room, lines=2)]
        top = (height - len(heading) * 2 * self.line - len(body) * self.line) // 2
        for line in heading:
            draw.text((self.width // 2, top), line, BRIGHT, big, anchor="ma")
            top += 2 * self.line
        for line in body:
            draw.text((self.width // 2, top), line, DIM, plain, anchor="ma")
            top += self.line
        return np.asarray(picture)
