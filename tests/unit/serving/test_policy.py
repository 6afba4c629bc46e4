"""What the server refuses to make, and that it makes nothing where it cannot ask."""

import pytest

from infra.settings import Settings
from serving.policy import PIECE, Policy, _pieces
from serving.wire import ApiError


def refused(policy: Policy, **texts: str) -> tuple[int, str | None]:
    """(status, the field that is named); (200, None) when all is allowed."""
    try:
        policy.check(texts)
    except ApiError as error:
        return error.status, error.body["error"]["param"]
    return 200, None


@pytest.mark.parametrize(
    "text",
    [
        "a Forbidden thing",
        "FORBIDDEN",
        "for\u200bbidden",
        "\N{FULLWIDTH LATIN SMALL LETTER F}orbidden!",
        "two,  WORDS",
    ],
)
def test_a_listed_word_is_refused_in_any_form(text):
    assert refused(Policy(words=("forbidden", "two words")), prompt=text) == (400, "prompt")


@pytest.mark.parametrize("text", ["unforbidden", "forbiddenly", "two other words", ""])
def test_other_words_are_not(text):
    assert refused(Policy(words=("forbidden", "two words")), prompt=text) == (200, None)


def test_the_field_is_named_and_the_word_is_not():
    with pytest.raises(ApiError) as caught:
        Policy(words=("forbidden",)).check({"prompt": "a", "script": "so forbidden"})
    assert caught.value.body["error"]["param"] == "script"
    assert "forbidden" not in str(caught.value).lower()


def test_the_file_counts_at_once_and_nothing_passes_without_it(tmp_path):
    policy = Policy(file=tmp_path / "words.txt")
    assert refused(policy, prompt="a") == (503, None)
    policy.file.write_text("# none\nforbidden # since June\n\n")
    assert refused(policy, prompt="a") == (200, None)
    assert refused(policy, prompt="forbidden") == (400, "prompt")
    policy.file.write_bytes(b"\xff\xfe\xff")
    assert refused(policy, prompt="a") == (503, None)


def test_long_texts_are_asked_about_to_their_end():
    text = "x" * 20_000
    pieces = list(_pieces([("script", text), ("title", "t")]))
    assert [param for param, _ in pieces] == ["script"] * 3 + ["title"]
    assert all(len(piece) <= PIECE for _, piece in pieces)
    assert pieces[2][1] == text[-len(pieces[2][1]) :] and pieces[3][1] == "t"


def test_the_settings_list_is_the_default():
    policy = Policy.of(Settings())
    assert refused(policy, prompt="a red ball") == (200, None)
    assert refused(policy, negative_prompt=Settings().blocked_words[0]) == (400, "negative_prompt")
