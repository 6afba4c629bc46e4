"""Models that look at clips: captions, embeddings, text in the picture.

Each is told where to run and then asked, a batch at a time; its answers are columns of the lake.
They travel to the workers of a cluster as they are, weights included, so they pickle.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa

from captioning.captioner import Clip
from captioning.descriptor import signature
from captioning.embedding import Embedder
from captioning.frames import CocaLook, Frames
from captioning.overlay import TextLook, TextReader, text_of
from captioning.recipe import CocaRecipe, TextRecipe
from infra.errors import InputError
from infra.lake_schema import EMBEDDING_SIZE

if TYPE_CHECKING:  # torch takes seconds to import
    from captioning.coca import CocaCaptioner

CLIPS_AT_ONCE = 64
TEXTS_AT_ONCE = 8  # reading one may take seconds, and its frames are large
ASKED = pa.schema({"clip_id": pa.string(), "failed": pa.string()})


class Look(Protocol):
    """Decodes the frames of a clip that a model is to see; equal ones see the same."""

    def __call__(self, data: bytes, clip: Clip) -> Frames:
        """Frames (N, H, W, 3).

        Raises:
            InputError: the bytes do not decode.
        """


class ClipModel(Protocol):
    """What says something of clips when it sees them."""

    @property
    def look(self) -> Look:
        """What it sees of a clip."""

    @property
    def at_once(self) -> int:
        """How many clips it sees together; a machine's last bits may depend on it."""

    def use(self, device: str, threads: int) -> None:
        """Run on "cpu" or "cuda", on so many cores."""

    def answer(self, clips: Sequence[Frames]) -> pa.Table:
        """A row a clip, in the order given; it sees one or more."""


class CaptionModel:
    """CoCa's captions: `caption` and `score`."""

    at_once = CLIPS_AT_ONCE

    def __init__(self, captioner: "CocaCaptioner", recipe: CocaRecipe) -> None:
        self.look = CocaLook(recipe)
        self._captioner = captioner
        self._recipe = recipe

    def use(self, device: str, threads: int) -> None:
        """See `ClipModel.use`."""
        self._captioner.use(device, threads)

    def answer(self, clips: Sequence[Frames]) -> pa.Table:
        """See `ClipModel.answer`."""
        from captioning.training import views_of

        told = self._captioner.caption(views_of(clips, self._recipe))
        return pa.table(
            {"caption": [text for text, _ in told], "score": [sure for _, sure in told]}
        )


class EmbeddingModel:
    """An embedder's `embedding`, and the `signature` that near-duplicates are found by."""

    at_once = CLIPS_AT_ONCE

    def __init__(self, embedder: Embedder) -> None:
        self.look = CocaLook(embedder.recipe)
        self._embedder = embedder

    def use(self, device: str, threads: int) -> None:
        """See `ClipModel.use`."""
        self._embedder.use(device, threads)

    def answer(self, clips: Sequence[Frames]) -> pa.Table:
        """See `ClipModel.answer`."""
        vectors = pa.array(self._embedder.embed(clips).ravel())
        return pa.table(
            {
                "embedding": pa.FixedSizeListArray.from_arrays(vectors, EMBEDDING_SIZE),
                "signature": pa.array([signature(frames) for frames in clips], pa.binary()),
            }
        )


class TextModel:
    """A reader's `text_share` and `text_found`."""

    at_once = TEXTS_AT_ONCE

    def __init__(self, reader: TextReader, recipe: TextRecipe) -> None:
        self.look = TextLook(recipe)
        self._reader = reader
        self._recipe = recipe

    def use(self, device: str, threads: int) -> None:
        """See `ClipModel.use`; reading is for cores."""
        self._reader.threads = threads

    def answer(self, clips: Sequence[Frames]) -> pa.Table:
        """See `ClipModel.answer`."""
        return pa.Table.from_pylist([text_of(seen, self._reader, self._recipe) for seen in clips])


def answered(model: ClipModel, seen: Sequence[tuple[str, Frames | InputError]]) -> pa.Table:
    """What the model says of clips that it sees together, with `clip_id` and with `failed`: why a
    clip does not decode, of which nothing is said, or null."""
    whole = [(clip_id, frames) for clip_id, frames in seen if not isinstance(frames, InputError)]
    lost = [(clip_id, str(error)) for clip_id, error in seen if isinstance(error, InputError)]
    said = model.answer([frames for _, frames in whole]) if whole else pa.table({})
    facts = {"clip_id": [clip_id for clip_id, _ in whole], "failed": [None] * len(whole)}
    lacking = {"clip_id": [clip_id for clip_id, _ in lost], "failed": [why for _, why in lost]}
    parts = [pa.table(rows, schema=ASKED) for rows in (facts, lacking)]
    for name in said.column_names:
        parts[0] = parts[0].append_column(said.schema.field(name), said[name])
    return pa.concat_tables(parts, promote_options="default")
