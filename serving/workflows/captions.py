"""Words as captions: pieces of at most two lines, which end with a sentence where they can."""

import re

from serving.workflows.typesetting import is_wide

CUE_CHARS, LINE_CHARS = 84, 42  # two lines, as broadcasters' captioning guides have them
SENTENCE_CHARS = 30  # a cue that ends with a sentence need not be filled further
SHORTEST_CUE_S = 1.2  # shorter ones are gone before they are found
SENTENCE_END = (".", "!", "?", "…", "。", "\uff01", "\uff1f", "؟")


def split_words(text: str) -> list[str]:
    """Pieces of at most `CUE_CHARS`, which end with a sentence where they can."""
    pieces = [""]
    for word in _words(text):
        ended = pieces[-1].rstrip().endswith(SENTENCE_END) and _room(pieces[-1]) >= SENTENCE_CHARS
        if pieces[-1] and (ended or _room((pieces[-1] + word).rstrip()) > CUE_CHARS):
            pieces.append("")
        pieces[-1] += word
    return [piece.strip() for piece in pieces]


def caption_lines(piece: str) -> str:
    """A piece as one line, or as two that are about as long as each other."""
    if _room(piece) <= LINE_CHARS:
        return piece
    best, line = piece, ""
    words = list(_words(piece))
    for index, word in enumerate(words[:-1]):
        line += word
        rest = "".join(words[index + 1 :])
        longest = max(_room(line.rstrip()), _room(rest))
        if longest < max(map(_room, best.split("\n"))):
            best = f"{line.rstrip()}\n{rest}"
    return best


def _words(text: str) -> list[str]:
    """Words with the space behind them; wide characters, and parts of endless words, alone."""
    found = []
    for word in re.findall(r"\S+\s*", text):
        if any(map(is_wide, word)):
            found.extend(
                re.findall(r"(?:[!-~]+|\S)[、。」』\uff0c\uff0e\uff01\uff1f\uff09]*\s*", word)
            )
        else:
            step = LINE_CHARS - 1
            found.extend(word[at : at + step] for at in range(0, len(word), step))
    return found


def _room(text: str) -> int:
    """The width of text in columns; a wide character takes two."""
    return sum(2 if is_wide(char) else 1 for char in text)
