"""What the demo makes with the served model, through the unmodified openai client."""

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from infra.errors import JobError

if TYPE_CHECKING:
    from modeling.generate import Generator

SECONDS, MORE_SECONDS = "4", "4"
ENLARGED = 8  # delivered pixels for each of the model's own

Frames = npt.NDArray[np.uint8]
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Example:
    """A real clip (T, H, W, 3), upright and whole, with its caption: what prompts are taken from.

    A prompt that no film shows has no frames, and `shape_of` (width, height) instead.
    """

    prompt: str
    frames: Frames | None
    shape_of: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Take:
    """Something that the model made: a file, and what was asked and given."""

    name: str
    kind: str  # in a person's words
    prompt: str
    says: str  # what was given, in a sentence
    path: Path
    given: tuple[float, float] | None = None  # the given part, as shares of the duration
    example: Example | None = None


class Showreel:
    """Asks for videos and pictures and keeps them in `folder`.

    reel = Showreel(client, generator, folder, say)
    reel.shoot(examples); reel.takes

    Args:
        client: an openai client for the served model.
        generator: tells which size suits a clip.
    """

    def __init__(self, client: Any, generator: "Generator", folder: Path, say: Say) -> None:
        self._client, self._generator, self._folder, self._say = client, generator, folder, say
        self.takes: list[Take] = []
        folder.mkdir(parents=True, exist_ok=True)

    def shoot(self, examples: Sequence[Example]) -> None:
        """A video for each example, one from a picture, two that go on, and a picture."""
        ids = [self._from_words(index, example) for index, example in enumerate(examples, start=1)]
        real = next(example for example in reversed(examples) if example.frames is not None)
        self._from_picture(real)
        self._extended(ids[0], examples[0], "forward")
        self._extended(ids[-1], examples[-1], "backward")
        self._picture(examples[-1])

    def size(self, example: Example) -> tuple[int, int]:
        """(width, height) to ask for: a whole multiple of what the model makes for this shape."""
        height, width = self._generator.native_size(*example.shape_of)
        return width * ENLARGED, height * ENLARGED

    def _from_words(self, number: int, example: Example) -> str:
        take = Take(
            name=f"text-{number}",
            kind="from words",
            prompt=example.prompt,
            says="Only the words were given."
            if example.frames is not None
            else "Only the words were given. No film shows this combination.",
            path=self._folder / f"text-{number}.mp4",
            example=example,
        )
        return str(self._video(take, example).id)

    def _from_picture(self, example: Example) -> None:
        assert example.frames is not None
        reference = ("first-frame.png", png(example.frames[0]), "image/png")
        (self._folder / reference[0]).write_bytes(reference[1])
        take = Take(
            name="picture",
            kind="from a picture",
            prompt=example.prompt,
            says="The first frame was given: it is one of the footage.",
            path=self._folder / "picture.mp4",
            given=(0.0, 1 / self._generator.num_frames(float(SECONDS))),
            example=example,
        )
        self._video(take, example, input_reference=reference)

    def _video(self, take: Take, example: Example, **more: Any) -> Any:
        width, height = self.size(example)
        video = self._client.videos.create_and_poll(
            prompt=take.prompt, seconds=SECONDS, size=f"{width}x{height}", **more
        )
        self._keep(video, take)
        return video

    def _extended(self, video_id: str, example: Example, direction: str) -> None:
        import openai

        video = self._client.videos.extend(
            prompt=example.prompt,
            seconds=MORE_SECONDS,
            video=openai.omit,
            extra_body={"video": {"id": video_id}, "direction": direction},
        )
        video = self._client.videos.poll(video.id)
        new, forward = float(MORE_SECONDS) / float(video.seconds), direction == "forward"
        path = self._folder / f"extended-{direction}.mp4"
        take = Take(
            name=path.stem,
            kind="continued" if forward else "what came before",
            prompt=example.prompt,
            says=f"The {'first' if forward else 'last'} {SECONDS} s were given, a video from here; "
            f"the {'last' if forward else 'first'} {MORE_SECONDS} s are new.",
            path=path,
            given=(0.0, 1 - new) if forward else (new, 1.0),
            example=example,
        )
        self._keep(video, take)

    def _picture(self, example: Example) -> None:
        width, height = self.size(example)
        reply = self._client.images.generate(prompt=example.prompt, size=f"{width}x{height}")
        path = self._folder / "image.png"
        path.write_bytes(base64.b64decode(reply.data[0].b64_json))
        says = "A video of one frame, from the same model."
        self._add(Take(name="image", kind="a picture", prompt=example.prompt, says=says, path=path))

    def _keep(self, video: Any, take: Take) -> None:
        if video.status != "completed":
            raise JobError(f"video {video.id} ended as {video.status}: {video.error}")
        self._client.videos.download_content(video.id).write_to_file(take.path)
        self._add(take)

    def _add(self, take: Take) -> None:
        self.takes.append(take)
        self._say(f"{take.kind}: {take.prompt} → {take.path.name}")


def png(frame_HWC: Frames) -> bytes:
    """A frame as the bytes of a PNG file."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(frame_HWC).save(buffer, "PNG")
    return buffer.getvalue()
