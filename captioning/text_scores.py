"""How much text clips show, and what it says: in the lake, a few frames of each clip looked at."""

from collections.abc import Sequence

import pyarrow.compute as pc

from captioning.captioner import Clip
from captioning.clip_models import TextModel
from captioning.inference import Inference, collected
from captioning.overlay import TextReader
from captioning.recipe import TextRecipe
from infra.job_files import JobContext
from infra.lake import Lake, quote
from infra.recipes import fingerprint

CLIPS_A_COMMIT = 32  # reading one may take seconds, and a run that is killed loses no more


def update_texts(
    context: JobContext,
    lake: Lake,
    clips: Sequence[Clip],
    reader: TextReader,
    recipe: TextRecipe,
    inference: Inference,
) -> int:
    """Read the clips that this reader has not read with this recipe; returns how many it read.

    A clip that does not decode stays without.
    """
    version = f"{reader.version}@{fingerprint(recipe)[:8]}"
    rows = lake.read("clips", ["clip_id"], f"text_version = {quote(version)}")
    done = set(rows["clip_id"].to_pylist())
    lacking = [clip for clip in clips if clip.clip_id not in done]
    looked = read = 0

    def say(more: int) -> None:
        nonlocal looked
        looked += more
        context.raise_if_stopping()
        context.progress(looked, len(lacking), f"text of {looked} of {len(lacking)} clips")

    answers = inference.run(TextModel(reader, recipe), lacking, say)
    for table in collected(answers, CLIPS_A_COMMIT):
        found = table.filter(pc.is_null(table["failed"])).drop_columns("failed")
        lake.upsert("clips", found.append_column("text_version", [[version] * len(found)]))
        read += len(found)
    return read
