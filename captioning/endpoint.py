"""A vision-language model behind any OpenAI-compatible server as a captioner.

It sees a few frames of a clip as JPEG and answers with a JSON object. What one clip runs into costs
that clip only: it gets no caption now, is counted, and is asked about again in the next run. A
server that refuses the key, or that fails all clips one after the other, is left alone for the rest
of the run.
"""

import asyncio
import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from captioning.answers import RESPONSE_FORMAT, AnswerError, read_answer, tokens_of
from captioning.captioner import Answers, Clip, Told, in_batches
from captioning.progress import Progress
from captioning.recipe import EndpointRecipe
from infra.errors import InputError, JobCancelledError
from infra.lake import Lake
from infra.settings import Settings
from infra.video import read_clip

if TYPE_CHECKING:  # the client takes most of a second to import
    from openai import AsyncOpenAI

BATCHES = 4  # of concurrent requests are stored together: what a kill may cost
GIVE_UP = 16  # clips in a row that the server failed
LOOK_S = 1.0  # between looks at whether the job is to stop
JPEG_QUALITY = 85
HOPELESS = (401, 403, 404)  # the key or the model is wrong: so it is for every clip


@dataclass(kw_only=True)
class Asked:
    """What became of a run's questions. `left`: clips not asked about, `stopped`: why not."""

    asked: int = 0
    answered: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    left: int = 0
    tokens: int = 0
    stopped: str = ""


class EndpointCaptioner:
    """Asks `recipe.model` at `recipe.url` about clips; `asked` counts what came of it."""

    source, free = "endpoint", False

    def __init__(
        self, settings: Settings, lake: Lake, recipe: EndpointRecipe, progress: Progress
    ) -> None:
        self.recipe = recipe
        self.version = recipe.version
        self.asked = Asked()
        self._key = settings.caption_key.get_secret_value().strip()
        self._lake = lake
        self._progress = progress
        self._in_a_row = 0
        if not (self._key.isascii() and self._key.isprintable()):
            self.asked.stopped = "REEL_CAPTION_KEY holds characters that no key has"

    def caption(self, clips: Sequence[Clip]) -> Answers:
        """See `Captioner.caption`; the score is what the model says of itself. When the job is to
        stop, what was answered until then is given before it does."""
        for some in in_batches(clips, BATCHES * self.recipe.concurrency):
            yield some, self._caption(some)

    def _caption(self, clips: Sequence[Clip]) -> list[Told | None]:
        if self._spent():
            self.asked.left += len(clips)
            self._progress.clips(len(clips))
            return [None] * len(clips)
        stored = self._lake.read_clip_bytes([clip.clip_id for clip in clips])
        return asyncio.run(self._ask_all(clips, stored))

    def result(self) -> dict[str, Any]:
        """`asked` for the job's result, with the version."""
        return {"version": self.version, **asdict(self.asked), "failed": dict(self.asked.failed)}

    async def _ask_all(
        self, clips: Sequence[Clip], stored: Mapping[str, bytes]
    ) -> list[Told | None]:
        gate = asyncio.Semaphore(self.recipe.concurrency)
        async with self._client() as client:
            tasks = [
                asyncio.create_task(self._ask(client, gate, clip, stored[clip.clip_id]))
                for clip in clips
            ]
            waiting = set(tasks)
            while waiting:
                done, waiting = await asyncio.wait(
                    waiting, timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED
                )
                try:
                    self._progress.clips(len(done))
                except JobCancelledError:
                    for task in waiting:
                        task.cancel()
                    await asyncio.gather(*waiting, return_exceptions=True)
                    break
            return [None if task.cancelled() else task.result() for task in tasks]

    async def _ask(
        self, client: "AsyncOpenAI", gate: asyncio.Semaphore, clip: Clip, data: bytes
    ) -> Told | None:
        """The answer about one clip; None, and counted, when there is none of use."""
        async with gate:
            if self._spent():
                self.asked.left += 1
                return None
            self.asked.asked += 1
            try:
                pictures = await asyncio.to_thread(data_urls, data, clip, self.recipe)
            except InputError:
                self.asked.failed["the clip does not decode"] += 1
                return None
            body = await self._post(client, pictures)
            if body is None:
                return None
            self.asked.tokens += tokens_of(body)
            try:
                told = read_answer(body, self.recipe.max_words)
            except AnswerError as error:
                self.asked.failed[str(error)] += 1
                return None
            self.asked.answered += 1
            return told

    async def _post(self, client: "AsyncOpenAI", pictures: Sequence[str]) -> bytes | None:
        """The body of the chat completion; None, and counted, when the server gives none."""
        from openai import APIConnectionError, APIError, APIStatusError

        content: list[Any] = [{"type": "text", "text": self.recipe.prompt}]
        content += [{"type": "image_url", "image_url": {"url": url}} for url in pictures]
        request: dict[str, Any] = {
            "model": self.recipe.model,
            "messages": [{"role": "user", "content": content}],
            "response_format": RESPONSE_FORMAT,
            "max_completion_tokens": self.recipe.answer_tokens,
        }
        try:
            async with asyncio.timeout(self.recipe.patience_s):
                answer = await client.chat.completions.with_raw_response.create(**request)
            body: bytes = answer.http_response.content
        except (APIConnectionError, TimeoutError):
            self._no_answer("no answer")
        except APIStatusError as error:
            if error.status_code in HOPELESS and not self.asked.stopped:
                said = " ".join(str(error).split())[:200]
                self.asked.stopped = self._without_key(f"the server refuses: {said}")
            self._no_answer(f"HTTP {error.status_code}")
        except APIError:
            self._no_answer("no chat completion")
        else:
            self._in_a_row = 0
            return body
        return None

    def _no_answer(self, reason: str) -> None:
        self.asked.failed[reason] += 1
        self._in_a_row += 1
        if self._in_a_row >= GIVE_UP and not self.asked.stopped:
            self.asked.stopped = f"the server failed {GIVE_UP} clips in a row: {reason}"

    def _spent(self) -> bool:
        """Whether no more clips may be asked about; `stopped` says why."""
        recipe, asked = self.recipe, self.asked
        if not asked.stopped and asked.asked >= recipe.max_clips:
            asked.stopped = f"the budget of {recipe.max_clips} clips a run is spent"
        elif not asked.stopped and 0 < recipe.max_tokens <= asked.tokens:
            asked.stopped = f"the budget of {recipe.max_tokens} tokens a run is spent"
        return bool(asked.stopped)

    def _client(self) -> "AsyncOpenAI":
        from openai import AsyncOpenAI

        client = AsyncOpenAI(
            base_url=self.recipe.url,
            api_key=self._key or "none",  # a server of one's own asks for none
            timeout=self.recipe.timeout_s,
            max_retries=self.recipe.retries,
        )
        # The client fills these from the environment; they are nothing to whoever is asked here.
        client.organization = client.project = None
        return client

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text


def data_urls(data: bytes, clip: Clip, recipe: EndpointRecipe) -> list[str]:
    """`recipe.frames` frames, evenly spread over the clip, as JPEG in `data:` URLs.

    Raises:
        InputError: the bytes do not decode.
    """
    scale = min(1.0, recipe.side / max(clip.width, clip.height))
    size = (max(1, round(clip.height * scale)), max(1, round(clip.width * scale)))
    times = [(index + 0.5) * clip.duration_s / recipe.frames for index in range(recipe.frames)]
    urls = []
    for frame in read_clip(data, clip.offset_s, times, size):
        bgr = np.ascontiguousarray(frame[..., ::-1])
        _, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        urls.append(f"data:image/jpeg;base64,{base64.b64encode(jpeg.tobytes()).decode()}")
    return urls
