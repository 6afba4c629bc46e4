"""What the caption job finds out about likeness: embeddings, near-duplicates, and their split.

All of it is brought up to date with the accepted clips, and a second run writes nothing: clips with
an embedding of this version are not looked at again, and only clips that were never compared are
compared with the others.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow.compute as pc

from captioning import near_duplicates
from captioning.captioner import Clip
from captioning.clip_models import EmbeddingModel
from captioning.embedding import PRETRAINED, Embedder, looks, stored_embedder
from captioning.inference import Inference, collected
from captioning.recipe import CocaRecipe, LikenessRecipe
from infra.job_files import JobContext
from infra.lake import Lake
from infra.lake_schema import EMBEDDING_SIZE
from infra.recipes import fingerprint
from infra.settings import Settings
from infra.splits import split_of_group

ACCEPTED = "status = 'accepted'"
SIGNED = f"{ACCEPTED} and signature is not null"
CLIPS_A_COMMIT = 2048
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

    def update(self, clips: Sequence[Clip], inference: Inference) -> dict[str, int]:
        """Bring everything up to date; `clips` are all accepted ones.

        Returns:
            {"embedded": clips of this run, "near_duplicates": clips that a better copy stands for}
        """
        embedded = self._embed(clips, inference)
        self._compare()
        return {"embedded": embedded, "near_duplicates": self._conclude()}

    def _embed(self, clips: Sequence[Clip], inference: Inference) -> int:
        """Embed the clips that lack this version, and write their signatures along.

        One that does not decode is left without: it can neither be found nor be a copy.
        """
        version = self.embedder.version
        rows = self._lake.read("clips", ["clip_id"], f"embedding_recipe = '{version}'")
        done = set(rows["clip_id"].to_pylist())
        lacking = [clip for clip in clips if clip.clip_id not in done]
        looked = written = 0

        def say(more: int) -> None:
            nonlocal looked
            looked += more
            self._context.raise_if_stopping()
            self._context.progress(
                looked, len(lacking), f"embedded {looked} of {len(lacking)} clips"
            )

        answers = inference.run(EmbeddingModel(self.embedder), lacking, say)
        for table in collected(answers, CLIPS_A_COMMIT):
            found = table.filter(pc.is_null(table["failed"])).drop_columns("failed")
            versions = [[version] * len(found)]
            self._lake.upsert("clips", found.append_column("embedding_recipe", versions))
            written += len(found)
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
