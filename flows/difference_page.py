"""What a release has that the one before had not, and the other way round: films, clips, hours,
and the words of captions."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flows import artifacts

if TYPE_CHECKING:
    from infra.lake import Lake
    from infra.releases import ReleaseInfo

LISTED = 20
WORDS = 40


def page(
    change: Mapping[str, Any],
    words: Mapping[str, Mapping[str, int]],
    old: "ReleaseInfo | None",
    new: "ReleaseInfo",
) -> str:
    """`change` as `infra.releases.difference` gives it, `words` as `word_difference` does."""
    names = {"sources": "films", "clips": "clips", "seconds": "footage"}
    rows = [
        (name, *(_amount(what, n) for n in (*_both(change[what]), new.counts[what])))
        for what, name in names.items()
    ]
    came, went = words["added"], words["removed"]
    rows.append(("words in captions", str(len(came)), str(len(went)), str(len(words["now"]))))
    since = f"since release {old.name}" if old else "the first release"
    parts = [
        f"# Release {new.name}: {since}",
        artifacts.table(["what", "added", "removed", "now"], rows),
    ]
    # In a first release every word is new, and says what the footage shows.
    parts += _words("New words" if old else "Words in captions, the most frequent first", came)
    parts += _words("Words that no caption has any more", went)
    parts += _films("Films added", change["sources_added"])
    parts += _films("Films removed", change["sources_removed"])
    return "\n\n".join(parts)


def word_difference(
    lake: "Lake", old: "ReleaseInfo | None", new: "ReleaseInfo"
) -> dict[str, dict[str, int]]:
    """Words that only the new or only the old release's captions have, and all of the new ones:
    {"added", "removed", "now"}, each word with how many captions hold it."""
    before = caption_words(lake, old) if old else Counter[str]()
    now = caption_words(lake, new)
    return {
        "added": {word: count for word, count in now.items() if word not in before},
        "removed": {word: count for word, count in before.items() if word not in now},
        "now": dict(now),
    }


def caption_words(lake: "Lake", release: "ReleaseInfo") -> Counter[str]:
    """Each word of the release's captions, small letters, and how many captions hold it."""
    captions = lake.read("clips", ["caption"], release.view, release.name)["caption"]
    return Counter(
        word
        for caption in captions.to_pylist()
        for word in sorted(set(re.findall(r"[^\W\d_]+", (caption or "").lower())))
    )


def duration(seconds: float) -> str:
    """A length of footage as people say it: "48 s", "12.5 min", "3.2 h"."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _both(change: Mapping[str, float]) -> tuple[float, float]:
    return change["added"], change["removed"]


def _amount(what: str, value: float) -> str:
    return duration(value) if what == "seconds" else f"{value:.0f}"


def _words(title: str, words: Mapping[str, int]) -> list[str]:
    if not words:
        return []
    by_count = sorted(words.items(), key=lambda item: (-item[1], item[0]))
    listed = ", ".join(f"{word} ({count})" for word, count in by_count[:WORDS])
    more = f", and {len(words) - WORDS} more" if len(words) > WORDS else ""
    return [f"## {title}", listed + more]


def _films(title: str, uris: Sequence[str]) -> list[str]:
    if not uris:
        return []
    listed = [f"- `{artifacts.readable(uri)}`" for uri in uris[:LISTED]]
    more = [f"- and {len(uris) - LISTED} more"] if len(uris) > LISTED else []
    return ["\n".join([f"## {title}", "", *listed, *more])]
