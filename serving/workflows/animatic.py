"""Moving pictures of a cut: the clean one, and the animatic with slates and timecode burnt in."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from infra.video import Frames, write_mp4
from serving.workflows.cut import Panel, frames_of
from serving.workflows.lettering import Color, Faces, Font, draw_lines, timecode, wrapped

MIN_WIDTH = 480  # smaller pictures are enlarged, or nobody could read the words
BACK = (22, 24, 28)
BRIGHT = (244, 243, 240)
DIM = (150, 154, 160)
TITLE_SLATES = 3  # the title stays as long as so many slates
LINES = 2  # of words in the strip
PAGE_S = 1.0  # the least time that one page of a long dialogue is shown


def write_cut(panels: Sequence[Panel], fps: float, path: Path) -> None:
    """The chosen takes, one after the other, and nothing else."""
    size = (panels[0].height, panels[0].width)
    write_mp4((frame for panel in panels for frame in frames_of(panel, size)), fps, path)


def write_animatic(
    panels: Sequence[Panel], title: str, fps: float, slate_s: float, path: Path, faces: Faces
) -> None:
    """The cut under a strip with shot, take, words and timecode; a slate before each shot.

    A long dialogue is shown page after page. The timecode is the cut's, 00:00:00:00 at its first
    frame; it stands still under slates.
    """
    look = _Look(panels[0].width, panels[0].height, faces)
    write_mp4(_frames(panels, title, fps, slate_s, look), fps, path)


def _frames(
    panels: Sequence[Panel], title: str, fps: float, slate_s: float, look: "_Look"
) -> Iterator[Frames]:
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
        strips = look.strips(panel, fps)
        for index, frame in enumerate(frames_of(panel, look.picture)):
            strip = strips[index * len(strips) // panel.num_frames]
            yield look.burnt_in(frame, strip, timecode(panel.start + index, fps))


class _Look:
    """Sizes and colours of an animatic: the picture, and a strip of words below it."""

    def __init__(self, width: int, height: int, faces: Faces) -> None:
        self.faces = faces
        scale = -(-MIN_WIDTH // width) if width < MIN_WIDTH else 1
        self.width, self.height = width * scale, height * scale
        self.picture = (self.height, self.width)
        self.text = max(14, self.width // 44, self.height // 56)
        self.line = round(self.text * 1.35)
        self.pad = self.text // 2
        self.strip_height = 3 * self.line + 2 * self.pad
        self.strip_height += (self.height + self.strip_height) % 2

    def strips(self, panel: Panel, fps: float) -> list[Image.Image]:
        """Everything in the strip but the timecode, for each page of the words."""
        said, room = panel.notes.get("dialogue", ""), self.width - 2 * self.pad
        pages = max(1, int(panel.num_frames / fps / PAGE_S)) if said else 1
        text = self.faces.legible(said) or panel.words
        lines = wrapped(text, self.faces.font(self.text), room, lines=LINES * pages)
        ink = BRIGHT if said else DIM
        return [
            self._strip(panel, lines[at : at + LINES], ink) for at in range(0, len(lines), LINES)
        ]

    def _strip(self, panel: Panel, lines: Sequence[str], ink: Color) -> Image.Image:
        strip = Image.new("RGB", (self.width, self.strip_height), BACK)
        draw, pad = ImageDraw.Draw(strip), self.pad
        bold, plain = self.faces.font(self.text, bold=True), self.faces.font(self.text)
        right = self.width - pad - int(plain.getlength("00:00:00:00")) - self.text
        (name,) = wrapped(
            f"{panel.take.shot}  take {panel.take.number}", bold, right - pad, lines=1
        )
        draw.text((pad, pad), name, BRIGHT, bold)
        left = pad + int(bold.getlength(name)) + self.text
        about = panel.notes.get("camera") or panel.notes.get("scene", "")
        if about and right - left > 4 * self.text:
            (line,) = wrapped(about, plain, right - left, lines=1)
            draw.text((left, pad), line, DIM, plain)
        room = self.width - 2 * pad
        draw_lines(draw, lines, (pad, pad + self.line), room, plain, ink, self.line)
        return strip

    def burnt_in(self, frame: Frames, strip: Image.Image, code: str) -> Frames:
        """The frame over its strip."""
        picture = Image.new("RGB", (self.width, self.height + self.strip_height))
        picture.paste(Image.fromarray(frame), (0, 0))
        picture.paste(strip, (0, self.height))
        at = (self.width - self.pad, self.height + self.pad)
        ImageDraw.Draw(picture).text(at, code, BRIGHT, self.faces.font(self.text), anchor="ra")
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
        plain, room = self.faces.font(self.text), self.width - 8 * self.pad
        heading, size = self._heading(title, room)
        body = [wrapped(line, plain, room, lines=2) for line in lines if line]
        tall, count = round(size * 1.35), sum(map(len, body))
        top = (height - len(heading) * tall - self.line // 2 - count * self.line) // 2
        top = self._centred(draw, heading, top, self.faces.heading(title, size), BRIGHT, tall)
        top += self.line // 2
        for part in body:
            top = self._centred(draw, part, top, plain, DIM, self.line)
        return np.asarray(picture)

    def _heading(self, title: str, room: int) -> tuple[list[str], int]:
        """The title in as few lines and as large as it can be, and its size."""
        for times, most in ((2.0, 2), (1.6, 2), (1.3, 3)):
            size = round(self.text * times)
            if len(wrapped(title, self.faces.heading(title, size), room)) <= most:
                break
        return wrapped(title, self.faces.heading(title, size), room, lines=4), size

    def _centred(
        self, draw: ImageDraw.ImageDraw, lines: Sequence[str], top: int, face: Font, ink: Color,
        line_px: int,
    ) -> int:  # fmt: skip
        """Draw the lines; the y below them."""
        for line in lines:
            draw.text((self.width // 2, top), line, ink, face, anchor="ma")
            top += line_px
        return top
