"""What the server refuses to make: a list of words, and a moderation endpoint if one is named.

    policy.check({"prompt": prompt, "negative_prompt": negative}, pictures)

It fails closed: where a list that is named cannot be read, or an endpoint that is named does not
answer as it must, nothing is made. `Service.submit` asks it about every job before that is queued.
"""

import base64
import io
import itertools
import logging
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from PIL import Image

from infra.settings import Settings
from serving.wire import ApiError

log = logging.getLogger(__name__)

TIMEOUT_S = 10.0
BATCH, PIECE = 32, 8000  # texts of one question, and the characters of one of them at most
SEEN_SIDE = 512  # pixels of a picture's longer side that the endpoint is sent


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Without an endpoint, all is allowed but what holds one of the words.

    words, file: words and phrases; the file has one a line, `#` begins a comment. It is read at
        every check, so a change counts at once.
    url, model, key: an OpenAI-compatible server's /v1, whose /moderations is asked.
    """

    words: tuple[str, ...] = ()
    file: Path | None = None
    url: str = ""
    model: str = "omni-moderation-latest"
    key: str = field(default="", repr=False)

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(
            words=tuple(settings.blocked_words),
            file=settings.blocked_words_file,
            url=settings.moderation_url,
            model=settings.moderation_model,
            key=settings.moderation_key.get_secret_value().strip(),
        )

    @property
    def sees_pictures(self) -> bool:
        return bool(self.url)

    def check(
        self,
        texts: Mapping[str, str] | Sequence[tuple[str, str]],
        pictures: Sequence[Path] = (),
        pictures_param: str = "input_reference",
    ) -> None:
        """Refuse what the policy does not allow: `texts` by the field that they came in, and
        pictures, files of our own making.

        Raises:
            ApiError: 400 names the field; 503 where the policy cannot be asked.
        """
        pairs = texts.items() if isinstance(texts, Mapping) else texts
        said = [(param, text) for param, text in pairs if text.strip()]
        blocked = [_plain(word) for word in (*self.words, *self._listed())]
        for param, text in said:
            plain = f" {_plain(text)} "
            if any(f" {word} " in plain for word in blocked if word):
                raise _refused(param)
        if not self.url:
            return
        pieces = _pieces(said)
        while batch := list(itertools.islice(pieces, BATCH)):
            flags = self._flagged([piece for _, piece in batch])
            for (param, _), flagged in zip(batch, flags, strict=True):
                if flagged:
                    raise _refused(param)
        for path in pictures:
            part = {"type": "image_url", "image_url": {"url": _data_url(path)}}
            if any(self._flagged([part])):
                raise _refused(pictures_param)

    def _listed(self) -> list[str]:
        if self.file is None:
            return []
        try:
            lines = self.file.read_text("utf-8").splitlines()
        except (OSError, ValueError) as error:
            log.error("the list of blocked words %s cannot be read: %s", self.file, error)
            raise _unavailable() from error
        return [line.partition("#")[0] for line in lines]

    def _flagged(self, inputs: list[Any]) -> list[bool]:
        """For each input whether the endpoint flags it."""
        from openai import OpenAI, OpenAIError

        try:
            with OpenAI(
                base_url=self.url, api_key=self.key or "none", timeout=TIMEOUT_S, max_retries=1
            ) as client:
                # The client fills these from the environment; they are nothing to this server.
                client.organization = client.project = None
                answer = client.moderations.create(input=inputs, model=self.model)
            flags = [result.flagged for result in answer.results]
        except (OpenAIError, ValueError, TypeError, AttributeError) as error:
            # Its text may quote the prompt.
            log.error("the moderation endpoint %s failed: %s", self.url, type(error).__name__)
            raise _unavailable() from error
        if len(flags) != len(inputs) or not all(isinstance(flag, bool) for flag in flags):
            log.error("the moderation endpoint %s answered in another form", self.url)
            raise _unavailable()
        return flags


def _pieces(said: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Texts as they are asked about: long ones in pieces, since an endpoint may read no further
    than so far, with some words in both of two neighbours."""
    step = PIECE - PIECE // 10
    for param, text in said:
        for start in range(0, max(1, len(text) - PIECE // 10), step):
            yield param, text[start : start + PIECE]


def _plain(text: str) -> str:
    """Lower-case words, one blank between; look-alike forms and invisible signs are gone."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    kept = (char for char in folded if unicodedata.category(char) != "Cf")
    return " ".join("".join(char if char.isalnum() else " " for char in kept).split())


def _data_url(path: Path) -> str:
    buffer = io.BytesIO()
    with Image.open(path) as picture:
        picture.thumbnail((SEEN_SIDE, SEEN_SIDE))
        picture.convert("RGB").save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _refused(param: str) -> ApiError:
    return ApiError(
        f"What {param} holds is not allowed by this server's policy; nothing was made.",
        param=param,
        code="moderation_blocked",
    )


def _unavailable() -> ApiError:
    return ApiError(
        "This server's policy cannot be asked now, so nothing is made; try again later, and tell "
        "its operator when that does not help.",
        code="policy_unavailable",
        status=503,
        kind="server_error",
    )
