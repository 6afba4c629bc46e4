"""How much text clips show, and what it says: in the lake, a few frames of each clip looked at."""

from collections.abc import Sequence
from typing import Any

from captioning.captioner import Clip
from captioning.overlay import TextReader, all_text, covered_share
from captioning.recipe import TextRecipe
from infra.errors import InputError
from infra.job_files import JobContext
from infra.lake import Lake, quote
from infra.recipes import fingerprint
from infra.video import read_clip

CLIPS_A_COMMIT = 32  # reading one may take seconds, and a run that is killed loses no more
DIGITS = 4

Row = dict[str, Any]


def update_texts(
    context: JobContext,
    lake: Lake,
    clips: Sequence[Clip],
    reader: TextReader,
    recipe: TextRecipe,
) -> int:
    """Read the clips that this reader has not read with this recipe; returns how many it read.

    A clip that does not decode stays without.
    """
    version = f"{reader.version}@{fingerprint(recipe)[:8]}"
    rows = lake.read("clips", ["clip_id"], f"text_version = {quote(version)}")
    done = set(rows["clip_id"].to_pylist())
    lacking = [clip for clip in clips if clip.clip_id not in done]
    read = 0
    for first in range(0, len(lacking), CLIPS_A_COMMIT):
        some = lacking[first : first + CLIPS_A_COMMIT]
        stored = lake.read_clip_bytes([clip.clip_id for clip in some])
        found = list[Row]()
        for number, clip in enumerate(some, start=first + 1):
            context.raise_if_stopping()
            try:
                facts = text_of(stored[clip.clip_id], clip, reader, recipe)
            except InputError:
                continue
            found.append({"clip_id": clip.clip_id, **facts, "text_version": version})
            context.progress(number, len(lacking), f"text of {number} of {len(lacking)} clips")
        lake.upsert("clips", found)
        read += len(found)
    return read


def text_of(data: bytes, clip: Clip, reader: TextReader, recipe: TextRecipe) -> Row:
    """`text_share`, of the looked-at frame with most text, and `text_found`, of all of them.

    Raises:
        InputError: the clip does not decode.
    """
    scale = min(1.0, recipe.side / max(clip.width, clip.height))
    size = (max(1, round(clip.height * scale)), max(1, round(clip.width * scale)))
    times_s = [(look + 0.5) / recipe.frames * clip.duration_s for look in range(recipe.frames)]
    looks = [
        [line for line in reader.read(frame) if line.confidence >= recipe.min_confidence]
        for frame in read_clip(data, clip.offset_s, times_s, size)
    ]
    lines = [line for look in looks for line in look]
    return {
        "text_share": round(max(covered_share(look, *size) for look in looks), DIGITS),
        "text_found": all_text(lines, recipe.max_characters),
    }
