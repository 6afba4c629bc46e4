"""What the caption job finds out about likeness: embeddings, near-duplicates, and their split.

All of it is brought up to date with the accepted clips, and a second run writes nothing: clips with
an embedding of this version are not looked at again, and only clips that were never compared are
compared with the others.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from captioning import near_duplicates
from captioning.captioner import Clip
from captioning.descriptor import signature
from captioning.embedding import PRETRAINED, Embedder, Vectors, looks, stored_embedder
from captioning.frames import FrameReader, Frames
from captioning.recipe import CocaRecipe, LikenessRecipe
from infra.errors import InputError
from infra.job_files import JobContext
from infra.lake import Lake, Rows
from infra.lake_schema import EMBEDDING_SIZE
from infra.recipes import fingerprint
from infra.settings import Settings
from infra.splits import split_of_group

ACCEPTED = "status = 'accepted'"
SIGNED = f"{ACCEPTED} and signature is not null"
CLIPS_A_COMMIT = 2048
CLIPS_AT_ONCE = 64
FACTS = (
    "clip_id", "source_id", "start_s", "end_s", "width", "height", "sharpness", "split",
    "near_duplicates", "duplicate_recipe", "duplicate_of",
)  # fmt: skip

Row = dict[str, Any]


class Likeness:
    """Embeddings, near-duplicates and split of a lake's accepted clips.

    Args:
        captions: By clip id, of the clips that a person captioned: they tell which captioner, and
            so which embedder, is in use.
    """

    def __init__(
        self,
        context: JobContext,
        settings: Settings,
        lake: Lake,
        recipe: CocaRecipe,
        alike: LikenessRecipe,
        captions: Mapping[str, str],
    ) -> None:
        self._context = context
        self._lake = lake
        self.embedder: Embedder = stored_embedder(settings.home, recipe, captions)
        self._alike = alike

    def update(self, clips: Sequence[Clip], frames: FrameReader) -> dict[str, int]:
        """Bring everything up to date; `clips` are all accepted ones.

        Returns:
            {"embedded": clips of this run, "near_duplicates": clips that a better copy stands for}
        """
        embedded = self._embed(clips, frames)
        self._compare()
        return {"embedded": embedded, "near_duplicates": self._conclude()}

    def _embed(self, clips: Sequence[Clip], frames: FrameReader) -> int:
        """Embed the clips that lack this version, and write their signatures along."""
        version = self.embedder.version
        rows = self._lake.read("clips", ["clip_id"], f"embedding_recipe = '{version}'")
        done = set(rows["clip_id"].to_pylist())
        lacking = [clip for clip in clips if clip.clip_id not in done]
        written = 0
        # One that does not decode is left without: it can neither be found nor be a copy.
        readable = (
            (clip, seen)
            for clip, seen in frames.read_what_decodes(lacking)
            if not isinstance(seen, InputError)
        )
        for batch in _batches(readable, CLIPS_A_COMMIT):
            vectors = []
            for start in range(0, len(batch), CLIPS_AT_ONCE):
                self._context.raise_if_stopping()
                some = [seen for _, seen in batch[start : start + CLIPS_AT_ONCE]]
                vectors.append(self.embedder.embed(some))
                count = written + start + len(some)
                self._context.progress(
                    count, len(lacking), f"embedded {count} of {len(lacking)} clips"
                )
            self._lake.upsert("clips", _embedded(batch, np.concatenate(vectors), version))
            written += len(batch)
        return written

    def _compare(self) -> None:
        """Look for near-duplicates of the clips that were not compared under this recipe."""
        asks_model = self.embedder.version.startswith(PRETRAINED)
        mark = f"{fingerprint(self._alike)}/{looks(self.embedder.recipe)}"
        mark += f"/{self.embedder.version}" if asks_model else ""
        columns = ["clip_id", "source_id", "signature", "duplicate_recipe"]
        table = self._lake.read("clips", columns + ["embedding"] * asks_model, SIGNED)
        compared = table["duplicate_recipe"].to_pylist()
        if all(recipe == mark for recipe in compared):
            return
        self._context.progress(0, 1, "looking for near-duplicates")
        vectors = table["embedding"].combine_chunks().flatten() if asks_model else None
        clips: dict[bool, list[near_duplicates.Clip]] = {True: [], False: []}
        for index, recipe in enumerate(compared):
            first = index * EMBEDDING_SIZE
            clip = near_duplicates.Clip(
                clip_id=table["clip_id"][index].as_py(),
                source_id=table["source_id"][index].as_py(),
                signature=table["signature"][index].as_py(),
                embedding=None if vectors is None
                else vectors.slice(first, EMBEDDING_SIZE).to_numpy(),
            )  # fmt: skip
            clips[recipe == mark].append(clip)
        pairs = near_duplicates.find_pairs(clips[False], clips[True], self._alike)
        self._lake.upsert(
            "clips",
            [
                {"clip_id": clip_id, "near_duplicates": others, "duplicate_recipe": mark}
                for clip_id, others in pairs.items()
            ],
        )

    def _conclude(self) -> int:
        """Name the best copy of each group and give the group one side of the split."""
        rows = {
            row["clip_id"]: row for row in self._lake.read("clips", FACTS, ACCEPTED).to_pylist()
        }
        wanted: dict[str, Row] = {
            clip_id: {"duplicate_of": None, "split": split_of_group([row["source_id"]])}
            for clip_id, row in rows.items()
        }
        for best, group in near_duplicates.judged(rows):
            split = split_of_group(rows[clip_id]["source_id"] for clip_id in group)
            for clip_id in group:
                of = None if clip_id == best else best
                wanted[clip_id] = {"duplicate_of": of, "split": split}
        changed = [
            {"clip_id": clip_id, **facts}
            for clip_id, facts in wanted.items()
            if any(rows[clip_id][name] != value for name, value in facts.items())
        ]
        self._lake.upsert("clips", changed)
        return sum(facts["duplicate_of"] is not None for facts in wanted.values())


def _embedded(batch: Sequence[tuple[Clip, Frames]], vectors: Vectors, version: str) -> Rows:
    return pa.table(
        {
            "clip_id": [clip.clip_id for clip, _ in batch],
            "embedding": pa.FixedSizeListArray.from_arrays(
                pa.array(vectors.ravel()), EMBEDDING_SIZE
            ),
            "embedding_recipe": [version] * len(batch),
            "signature": pa.array([signature(frames) for _, frames in batch], pa.binary()),
        }
    )


def _batches(seen: Iterator[tuple[Clip, Frames]], size: int) -> Iterator[list[tuple[Clip, Frames]]]:
    batch = []
    for entry in seen:
        batch.append(entry)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
