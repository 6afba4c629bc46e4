"""Text: words to tokens, tokens to rows. Trained along with the model, so no weights are needed.

The vocabulary is the words of the release's own captions; any other word is spelled in bytes, so
every prompt can be read, in any language.
"""

import re
from collections import Counter
from collections.abc import Iterable

import torch
from torch import Tensor, nn

NULL = 0  # the token of "no caption", learned; guidance steers away from it
FIRST_WORD = 1 + 256
WORD = re.compile(r"\w+|[^\w\s]")


class Tokenizer:
    """Words of a fixed vocabulary; bytes for the rest; one NULL token for the empty text."""

    def __init__(self, words: Iterable[str], max_tokens: int = 64) -> None:
        self.words = list(words)
        self.max_tokens = max_tokens
        self._ids = {word: FIRST_WORD + index for index, word in enumerate(self.words)}

    @classmethod
    def from_captions(
        cls, captions: Iterable[str], max_words: int = 8192, max_tokens: int = 64
    ) -> "Tokenizer":
        """The most frequent words of `captions`, ties in alphabetical order."""
        counts = Counter(word for text in captions for word in WORD.findall(text.lower()))
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        return cls(ranked[:max_words], max_tokens)

    def __len__(self) -> int:
        return FIRST_WORD + len(self.words)

    def encode(self, text: str) -> list[int]:
        """Token ids, at most `max_tokens` of them; the empty text is [NULL]."""
        ids: list[int] = []
        for word in WORD.findall(text.lower()):
            known = self._ids.get(word)
            ids += [known] if known is not None else [1 + byte for byte in word.encode()]
        return ids[: self.max_tokens] or [NULL]


class TextEncoder(nn.Module):
    """Token ids (N,) -> features (N, width). Order enters through the transformer's positions."""

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        nn.init.normal_(self.embedding.weight, std=0.5)

    def forward(self, tokens_N: Tensor) -> Tensor:
        out: Tensor = self.embedding(tokens_N)
        return out


def token_tensor(tokens: Iterable[int]) -> Tensor:
    return torch.tensor(list(tokens), dtype=torch.long)
