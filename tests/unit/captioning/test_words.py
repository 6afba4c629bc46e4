import pytest

from captioning.words import BEGIN, END, PAD, UNKNOWN, WordTokenizer, split_words

CAPTIONS = ["A dog's tail wags, slowly.", "a well-lit room (empty)"]


@pytest.mark.parametrize("caption", CAPTIONS)
def test_round_trip_keeps_words_and_punctuation(caption: str) -> None:
    tokenizer = WordTokenizer.build(CAPTIONS)
    assert tokenizer.decode(tokenizer.encode(caption, 20)) == caption.lower()


def test_encode_frames_the_words_and_pads() -> None:
    tokenizer = WordTokenizer.build(["red ball"])
    assert tokenizer.encode("ball red", 6) == [BEGIN, 4, 5, END, PAD, PAD]


def test_unknown_words_are_marked_and_left_out_of_text() -> None:
    tokenizer = WordTokenizer.build(["red ball"])
    ids = tokenizer.encode("red zeppelin", 5)
    assert ids[2] == UNKNOWN
    assert tokenizer.decode(ids) == "red"


def test_long_caption_is_cut_and_still_ends() -> None:
    tokenizer = WordTokenizer.build(["one two three four"])
    ids = tokenizer.encode("one two three four", 4)
    assert len(ids) == 4
    assert ids[-1] == END


def test_vocabulary_keeps_the_frequent_words_whatever_their_order() -> None:
    captions = ["cat cat dog", "dog bird"]
    assert WordTokenizer.build(captions, max_words=2).words == ["cat", "dog"]
    assert WordTokenizer.build(captions[::-1], max_words=2).words == ["cat", "dog"]


def test_words_of_other_scripts_count_as_words() -> None:
    assert split_words("Ein Hund läuft; 犬が走る") == ["ein", "hund", "läuft", ";", "犬が走る"]
