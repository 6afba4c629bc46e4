"""What was measured of clips, in words for people who look at them."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from flows import artifacts

if TYPE_CHECKING:
    from infra.lake import Lake
    from infra.releases import ReleaseInfo

# What a viewer would notice, and the filter that leaves such clips out.
NOTICED = {
    "stand still for half of their time or more": "static_share < 0.5",
    "are black for a tenth of their time or more": "black_share < 0.1",
    "have black bars above or below": "bar_top_share < 0.02 and bar_bottom_share < 0.02",
    "have black bars at the sides": "bar_left_share < 0.02 and bar_right_share < 0.02",
    "show nothing but black on a tenth of the picture or more": "crushed_share < 0.1",
    "show nothing but white on a twentieth of the picture or more": "blown_share < 0.05",
    "show text on a fiftieth of the picture or more": "text_share < 0.02",
}
RATINGS = {"aesthetic_score": "pleasing", "unsafe_score": "unfit to be shown"}
SHOWN_CHARACTERS = 40
ALWAYS = 0.95


def noticed(lake: "Lake", release: "ReleaseInfo") -> str:
    """How many of a release's clips have what a viewer would notice, and how to do without."""
    rows = []
    for what, where in NOTICED.items():
        count = lake.count("clips", f"{release.view} and not ({where})", release.name)
        if count:
            rows.append((what, count, f'`--where "{where}"`'))
    if not rows:
        return "Nothing that a viewer would mind was measured in any of them."
    return artifacts.table(["clips that…", "how many", "a release without them"], rows)


def remarks(row: Mapping[str, Any]) -> Iterator[str]:
    """What stands out in a clip, given its scores and `text_found`; often nothing."""
    scores = {name: value for name, value in row.items() if value is not None}
    if scores.get("black_share", 0.0) >= ALWAYS:
        yield "black all the time"
        return
    yield from _stretch(scores, "static", "stands still")
    yield from _stretch(scores, "black", "black")
    yield from _bars(scores, ("top", "above"), ("bottom", "below"), "height")
    yield from _bars(scores, ("left", "left"), ("right", "right"), "width")
    if scores.get("crushed_share", 0.0) >= 0.1:
        yield f"shadows without detail on {scores['crushed_share']:.0%} of the picture"
    if scores.get("blown_share", 0.0) >= 0.05:
        yield f"lights without detail on {scores['blown_share']:.0%} of the picture"
    if scores.get("text_share", 0.0) >= 0.005:
        words = " ".join(scores.get("text_found", "").split())
        said = words if len(words) <= SHOWN_CHARACTERS else f"{words[: SHOWN_CHARACTERS - 1]}…"
        yield f"text on {scores['text_share']:.0%} of the picture: “{said}”"
    for column, what in RATINGS.items():
        if column in scores:
            yield f"rated {scores[column]:.2g} as {what}"


def _stretch(scores: Mapping[str, Any], kind: str, what: str) -> Iterator[str]:
    share, longest_s = scores.get(f"{kind}_share", 0.0), scores.get(f"{kind}_longest_s", 0.0)
    if share >= ALWAYS:
        yield f"{what} all the time"
    elif longest_s >= 0.25:
        yield f"{what} for {longest_s:.1f} s"


def _bars(
    scores: Mapping[str, Any], one: tuple[str, str], other: tuple[str, str], of: str
) -> Iterator[str]:
    shares = {word: scores.get(f"bar_{side}_share", 0.0) for side, word in (one, other)}
    seen = [word for word, share in shares.items() if share >= 0.01]
    if seen:
        bars = "black bars" if len(seen) > 1 else "black bar"
        yield f"{bars} {' and '.join(seen)} ({sum(shares.values()):.0%} of the {of})"
