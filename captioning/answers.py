"""Reading what a language model answered. It comes from outside: nothing about it is believed."""

import math
import re
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from captioning.captioner import Told

UNSTATED = 0.5  # the score of a caption whose model did not say how sure it is
RESPONSE_FORMAT: dict[str, Any] = {
    "type": "json_schema",
    "json_schema": {
        "name": "caption",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"caption": {"type": "string"}, "confidence": {"type": "number"}},
            "required": ["caption", "confidence"],
            "additionalProperties": False,
        },
    },
}
_REFUSAL = re.compile(
    r"(i'?m |i am )?(sorry|unable to|not able to)\b|i (can't|cannot|can not|won't)\b"
    r"|as an ai\b|i apologi[sz]e\b",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.!?](?=\s)")


class AnswerError(ValueError):
    """An answer without a caption; `str(error)` is one of few reasons, to be counted."""


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message


class _Usage(BaseModel):
    total_tokens: int = Field(default=0, ge=0)


class _Answer(BaseModel):
    choices: list[_Choice] = Field(min_length=1)


class _Billed(BaseModel):
    usage: _Usage | None = None


class _Caption(BaseModel):
    caption: str
    confidence: Any = None


def tokens_of(body: bytes) -> int:
    """Tokens that the server says it spent on a chat completion; 0 if it does not say."""
    try:
        usage = _Billed.model_validate_json(body).usage
    except ValidationError:
        return 0
    return usage.total_tokens if usage else 0


def read_answer(body: bytes, max_words: int) -> Told:
    """The caption in a chat completion's body, cleaned, and how sure the model says it is.

    Raises:
        AnswerError: no completion, no JSON object with a caption in it, a refusal, no words.
    """
    try:
        message = _Answer.model_validate_json(body).choices[0].message
    except ValidationError as error:
        raise AnswerError("no chat completion") from error
    if message.refusal:
        raise AnswerError("refused")
    content = message.content or ""
    if _REFUSAL.match(content.strip().replace("\u2019", "'")):
        raise AnswerError("refused")
    try:
        # Servers that know no response_format wrap the object in prose or a code fence.
        found = _Caption.model_validate_json(content[content.find("{") : content.rfind("}") + 1])
    except ValidationError as error:
        raise AnswerError("not the JSON asked for") from error
    return clean(found.caption, max_words), _score(found.confidence)


def clean(text: str, max_words: int) -> str:
    """One line of printable characters, cut after the last sentence that ends within `max_words`
    words, or after the last of these words.

    Raises:
        AnswerError: no words are left, or they are a refusal.
    """
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    words = text.strip(" \"'`\u201c\u201d").split()
    cut = " ".join(words[:max_words])
    if len(words) > max_words:
        ends = [found.end() for found in _SENTENCE_END.finditer(cut + " ")]
        cut = cut[: ends[-1]] if ends else cut
    if not re.search(r"\w", cut):
        raise AnswerError("no words")
    if _REFUSAL.match(cut.replace("\u2019", "'")):
        raise AnswerError("refused")
    return cut


def _score(confidence: Any) -> float:
    is_number = isinstance(confidence, int | float) and not isinstance(confidence, bool)
    if not is_number or not math.isfinite(confidence):
        return UNSTATED
    return min(1.0, max(0.0, float(confidence)))
