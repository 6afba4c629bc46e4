"""Text: words to tokens, tokens to rows of features, one row a token.

    tokens = tokenizer.encode("a red ball")         # [NULL] when there are no words
    features_NW = encoder(token_tensor(tokens))     # goes to the transformer as it is

Two encoders have this interface. `TextEncoder` is trained along with the model, so no weights are
needed: its vocabulary is the words of the release's own captions; any other word is spelled in
bytes, so every prompt can be read, in any language. `FrozenTextEncoder` stands on a pretrained
model (modeling/pretrained_text.py) and learns one row, that of "no caption".
"""

import re
from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NULL = 0  # the token of "no caption", learned; guidance steers away from it
FIRST_WORD = 1 + 256
WORD = re.compile(r"\w+|[^\w\s]")
KEPT_BYTES = 2**30  # of features of captions that may come again


@dataclass(frozen=True, kw_only=True)
class TextRecipe:
    """Who reads the captions. A pretrained encoder is frozen."""

    encoder: Literal["trained", "hugging_face", "open_clip"] = "trained"
    source: str = ""
    """hugging_face: a folder as `save_pretrained` writes it, tokenizer included. open_clip: a
    model's name, its configuration (.json), or a folder that open_clip saved."""
    pretrained: str = ""
    """open_clip: a tag of its weights, or a checkpoint's path."""
    max_tokens: int = 64
    """Longer captions are cut."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of a pretrained encoder's weights."""
    bundled_gib: float = 4.0
    """Weights up to this size are copied into the bundle; of larger ones it keeps path and hash."""


class CaptionTokenizer(Protocol):
    """Words to token ids; what no encoder has a use for is NULL."""

    def encode(self, text: str) -> list[int]:
        """At least one token and at most the recipe's `max_tokens`; the empty text is [NULL]."""


class CaptionEncoder(nn.Module):
    """Token ids of captions to rows of features."""

    def forward(self, tokens_N: Tensor, lengths: Sequence[int] = ()) -> Tensor:
        """(N,) ids of captions one after another -> (N, width).

        `lengths` are the tokens of each caption; none means that all are one caption's.
        """
        raise NotImplementedError


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


class TextEncoder(CaptionEncoder):
    """Trained along with the model. Order enters through the transformer's positions."""

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        nn.init.normal_(self.embedding.weight, std=0.5)

    def forward(self, tokens_N: Tensor, lengths: Sequence[int] = ()) -> Tensor:
        """A word's row is its own, whatever stands beside it."""
        out: Tensor = self.embedding(tokens_N)
        return out


class PretrainedText(Protocol):
    """A frozen model and its tokenizer; `width` is that of its features."""

    width: int

    def features(self, tokens: Sequence[int], device: torch.device) -> Tensor:
        """Of one caption, as its tokenizer made it: (L, width), float32 on the CPU."""


class FrozenTextEncoder(CaptionEncoder):
    """Features of a pretrained model; only the row of NULL is learned.

    The pretrained model is no part of this module's parameters: it is neither trained, nor
    averaged, nor written to checkpoints. Captions are read one at a time, so that features do not
    depend on what else is in the batch and a resumed run is the same; those that come again are
    remembered. Rows are scaled to a root mean square of one: encoders' scales differ by far.
    """

    def __init__(self, pretrained: PretrainedText) -> None:
        super().__init__()
        self.null = nn.Parameter(torch.zeros(1, pretrained.width))
        self._memory = FeatureMemory(pretrained)

    def forward(self, tokens_N: Tensor, lengths: Sequence[int] = ()) -> Tensor:
        """See `CaptionEncoder`; every row of a caption depends on all of its tokens."""
        rows, at = [], 0
        ids = tokens_N.tolist()
        for length in lengths or [len(ids)]:
            caption = tuple(ids[at : at + length])
            at += length
            rows.append(self.null if caption == (NULL,) else self._memory(caption, self.null))
        return torch.cat(rows)


class FeatureMemory:
    """What a frozen model makes of captions; the longest unused are forgotten."""

    def __init__(self, pretrained: PretrainedText, limit_bytes: int = KEPT_BYTES) -> None:
        self._pretrained, self._left = pretrained, limit_bytes
        self._kept: OrderedDict[tuple[int, ...], Tensor] = OrderedDict()

    def __deepcopy__(self, _memo: object) -> "FeatureMemory":
        return self  # an averaged copy of the learned row stands on the same frozen model

    def __call__(self, tokens: tuple[int, ...], like: Tensor) -> Tensor:
        """Features (L, width) with the type and on the device of `like`."""
        found = self._kept.get(tokens)
        if found is None:
            features = self._pretrained.features(tokens, like.device)
            found = self._kept[tokens] = F.rms_norm(features, features.shape[-1:])
            self._left -= found.nbytes
            while self._left < 0 and len(self._kept) > 1:
                self._left += self._kept.popitem(last=False)[1].nbytes
        self._kept.move_to_end(tokens)
        return found.to(like)


def token_tensor(tokens: Iterable[int]) -> Tensor:
    return torch.tensor(list(tokens), dtype=torch.long)
