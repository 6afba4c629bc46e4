"""What is made of answers that nobody vouches for."""

import json
from typing import Any

import pytest

from captioning.answers import AnswerError, clean, read_answer, tokens_of
from tests.unit.captioning.chat_server import caption, completion


def read(reply: tuple[int, dict[str, str], bytes], max_words: int = 12) -> tuple[str, float]:
    return read_answer(reply[2], max_words)


def test_the_caption_and_how_sure_the_model_is() -> None:
    assert read(caption("A dog runs.", 0.9)) == ("A dog runs.", 0.9)
    fenced = '```json\n{"caption": "A dog runs.", "confidence": 1}\n```'
    assert read(completion(fenced)) == ("A dog runs.", 1.0)


@pytest.mark.parametrize(
    ("stated", "score"),
    [(1.7, 1.0), (-3, 0.0), ("high", 0.5), (None, 0.5), (True, 0.5), (float("nan"), 0.5)],
)
def test_a_score_is_a_share_whatever_was_stated(stated: Any, score: float) -> None:
    assert read(caption("A dog.", stated))[1] == score


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("  A dog\n\truns.\x00\u202e ", "A dog runs."),
        ('"A dog runs."', "A dog runs."),
        ("One two. Three four five. Six seven eight nine", "One two. Three four five."),
        ("one two three four five six seven eight nine", "one two three four five six"),
    ],
)
def test_a_caption_is_one_clean_line_of_whole_sentences(text: str, cleaned: str) -> None:
    assert clean(text, 6) == cleaned


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (caption(""), "no words"),
        (caption(" …\n"), "no words"),
        (caption("I\u2019m sorry, but I can't describe this."), "refused"),
        (completion("I cannot help with that."), "refused"),
        (completion(None, refusal="No."), "refused"),
        (completion("A dog runs."), "not the JSON asked for"),
        (completion('{"caption": "A dog'), "not the JSON asked for"),
        (completion('{"caption": ["A", "dog"]}'), "not the JSON asked for"),
        (completion('["A dog"]'), "not the JSON asked for"),
        (completion(None), "not the JSON asked for"),
        ((200, {}, b"<html>"), "no chat completion"),
        ((200, {}, b'{"choices": []}'), "no chat completion"),
        ((200, {}, b"[" * 100_000), "no chat completion"),
    ],
)
def test_what_is_no_caption_is_refused_for_one_of_few_reasons(reply: Any, reason: str) -> None:
    with pytest.raises(AnswerError, match=reason):
        read(reply)


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        (json.dumps({"usage": {"total_tokens": 7}}).encode(), 7),
        (b'{"usage": {"total_tokens": -7}}', 0),
        (b'{"usage": null}', 0),
        (b"no JSON", 0),
    ],
)
def test_a_bill_that_nobody_sends_is_nothing(body: bytes, tokens: int) -> None:
    assert tokens_of(body) == tokens
