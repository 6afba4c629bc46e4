"""What changed in the words when a captioner got a new version, on a fixed set of clips.

The watched clips are those whose hashed ids come first among the clips that no person captioned:
the set stays the same while the lake does, and changes one by one as it grows.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from captioning.words import split_words

WATCHED = 32
EXAMPLES = 6


def watch_rank(clip_id: str) -> bytes:
    """Sorts clips by a hash of their id: watched ones come first."""
    return hashlib.sha256(f"watched {clip_id}".encode()).digest()


def watched(clip_ids: Iterable[str]) -> list[str]:
    """The ids that are watched among these."""
    return sorted(clip_ids, key=watch_rank)[:WATCHED]


def word_f1(one: str, other: str) -> float:
    """Twice the words that both captions have, over all words of both; 1 for two empty ones."""
    first, second = Counter(split_words(one)), Counter(split_words(other))
    total = first.total() + second.total()
    return 2 * (first & second).total() / total if total else 1.0


def drift(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, Any]:
    """Compare captions by clip id, on the clips that both have.

    Returns:
        {"clips", "changed": how many have other words, "word_f1": mean,
         "examples": [{"clip_id", "before", "after"}], the most changed first}
    """
    both = sorted(before.keys() & after.keys())
    f1 = {clip_id: word_f1(before[clip_id], after[clip_id]) for clip_id in both}
    other = [c for c in both if split_words(before[c]) != split_words(after[c])]
    shown = sorted(other, key=lambda clip_id: (f1[clip_id], clip_id))[:EXAMPLES]
    return {
        "clips": len(both),
        "changed": len(other),
        "word_f1": round(sum(f1.values()) / len(both), 4) if both else 1.0,
        "examples": [{"clip_id": c, "before": before[c], "after": after[c]} for c in shown],
    }
