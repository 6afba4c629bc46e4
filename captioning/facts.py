"""A caption from what was measured, for footage with neither captions nor a captioner."""

import json
from collections.abc import Sequence

from captioning.captioner import FREE_BATCH, Answers, Clip, in_batches

CAMERA = {
    "static": "static camera",
    "handheld": "handheld camera",
    "pan left": "camera panning left",
    "pan right": "camera panning right",
    "tilt up": "camera tilting up",
    "tilt down": "camera tilting down",
    "zoom in": "camera zooming in",
    "zoom out": "camera zooming out",
}
TEMPO = {"still": "no movement", "slow": "slow movement", "fast": "fast movement"}


class FactsCaptioner:
    """Measured facts in words. `version` counts the ways of wording them that there have been."""

    source, version, free = "facts", "1", True

    def caption(self, clips: Sequence[Clip]) -> Answers:
        """See `Captioner.caption`; never None, and the score is 1."""
        for some in in_batches(clips, FREE_BATCH):
            yield some, [(facts_caption(clip.facts_json), 1.0) for clip in some]


def facts_caption(facts_json: str | None) -> str:
    """`clips.facts_json` in words: "a dark scene in blue and gray, slow movement, static camera".

    Facts that were not measured are left out; with none at all it is "a scene".
    """
    facts = json.loads(facts_json or "{}")
    scene = " ".join(word for word in ("a", facts.get("light"), "scene") if word)
    colors = facts.get("colors") or []
    if colors:
        scene += f" in {_listed(colors)}"
    tempo, camera = facts.get("tempo", ""), facts.get("camera", "")
    parts = [scene, TEMPO.get(tempo, tempo), CAMERA.get(camera, camera)]
    return ", ".join(part for part in parts if part)


def _listed(words: list[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
