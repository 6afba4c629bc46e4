"""A small word-level tokenizer, built from the captions that a captioner is trained on."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

PAD, BEGIN, END, UNKNOWN = 0, 1, 2, 3  # PAD is 0 because open_clip's CoCa masks 0
SPECIAL = 4
_TOKEN = re.compile(r"\w+(?:['\u2019-]\w+)*|[^\w\s]")
_NO_SPACE_BEFORE = re.compile(r"\s+([.,;:!?%)\]])")
_NO_SPACE_AFTER = re.compile(r"([(\[])\s+")


class WordTokenizer:
    """Turns captions into word ids and back. Case is dropped; punctuation marks are words."""

    bos, eos, pad = BEGIN, END, PAD

    def __init__(self, words: Sequence[str]) -> None:
        self.words = list(words)
        self._ids = {word: index + SPECIAL for index, word in enumerate(self.words)}

    @classmethod
    def build(cls, captions: Iterable[str], max_words: int = 4096) -> "WordTokenizer":
        """The tokenizer of the `max_words` most frequent words in `captions`, sorted."""
        counts = Counter(word for caption in captions for word in split_words(caption))
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        return cls(sorted(ranked[:max_words]))

    @property
    def vocab_size(self) -> int:
        return len(self.words) + SPECIAL

    def encode(self, caption: str, length: int) -> list[int]:
        """Exactly `length` ids: begin, the words (cut to fit), end, padding."""
        ids = [self._ids.get(word, UNKNOWN) for word in split_words(caption)][: length - 2]
        return [BEGIN, *ids, END] + [PAD] * (length - 2 - len(ids))

    def decode(self, ids: Iterable[int]) -> str:
        """The caption up to the first end; unknown and special ids are left out."""
        words = []
        for index in ids:
            if index == END:
                break
            if index >= SPECIAL:
                words.append(self.words[index - SPECIAL])
        text = _NO_SPACE_BEFORE.sub(r"\1", " ".join(words))
        return _NO_SPACE_AFTER.sub(r"\1", text)


def split_words(caption: str) -> list[str]:
    """Lower-case words and punctuation marks of a caption, in order."""
    return _TOKEN.findall(caption.lower())
