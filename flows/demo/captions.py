"""From words back to attributes: the inverse of `Attributes.caption`, tolerant of wording."""

import re
from dataclasses import asdict

from flows.demo.scene import (
    BACKGROUNDS,
    COLORS,
    DIRECTIONS,
    SHAPES,
    SIZES,
    Attributes,
)

VOCABULARY: dict[str, tuple[str, ...]] = {
    "shape": SHAPES,
    "color": tuple(COLORS),
    "size": tuple(SIZES),
    "direction": tuple(DIRECTIONS),
    "background": tuple(BACKGROUNDS),
}
"""Every attribute's name with the values it may take, in the order of a caption's importance."""


def parse_words(text: str) -> dict[str, str]:
    """The attributes that a text names without contradiction; a value named twice counts once."""
    words = set(re.findall(r"[a-z]+", text.lower()))
    found = {name: words.intersection(values) for name, values in VOCABULARY.items()}
    return {name: next(iter(named)) for name, named in found.items() if len(named) == 1}


def parse_caption(text: str) -> Attributes | None:
    """The attributes a caption states; None unless it states each of them exactly once."""
    named = parse_words(text)
    return Attributes(**named) if len(named) == len(VOCABULARY) else None


def matches(found: Attributes | None, wanted: Attributes) -> dict[str, bool]:
    """Attribute by attribute, whether what was found is what was wanted; nothing found is wrong."""
    if found is None:
        return dict.fromkeys(VOCABULARY, False)
    have, want = asdict(found), asdict(wanted)
    return {name: have[name] == want[name] for name in VOCABULARY}
