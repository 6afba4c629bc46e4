from modeling.text import FIRST_WORD, NULL, Tokenizer

CAPTIONS = ["a red ball", "a blue ball, rolling", "a red box"]


def test_known_words_are_one_token_each_and_case_does_not_matter() -> None:
    tokenizer = Tokenizer.from_captions(CAPTIONS)
    ids = tokenizer.encode("A Red ball")
    assert len(ids) == 3 and all(FIRST_WORD <= token < len(tokenizer) for token in ids)


def test_unknown_words_are_spelled_in_bytes() -> None:
    tokenizer = Tokenizer.from_captions(CAPTIONS)
    assert tokenizer.encode("é") == [1 + byte for byte in "é".encode()]
    assert all(0 < token < FIRST_WORD for token in tokenizer.encode("zebra"))


def test_no_words_are_the_null_token() -> None:
    assert Tokenizer(["a"]).encode("  ") == [NULL]


def test_frequent_words_come_first_and_ties_never_vary() -> None:
    tokenizer = Tokenizer.from_captions(reversed(CAPTIONS), max_words=3)
    assert tokenizer.words == ["a", "ball", "red"]


def test_a_long_text_is_cut() -> None:
    assert len(Tokenizer(["a"], max_tokens=5).encode("a " * 50)) == 5
