"""The lake's tables: their columns, keys, and which columns do not count as content."""

from dataclasses import dataclass

import lance
import pyarrow as pa


@dataclass(frozen=True, kw_only=True)
class TableSpec:
    """One Lance table. `volatile` columns (times of looking) are left out of the content hash."""

    schema: pa.Schema
    key: tuple[str, ...]
    blob: str = ""
    volatile: frozenset[str] = frozenset()

    @property
    def plain_columns(self) -> list[str]:
        """All columns but the blob, which is read through `Lake.read_clip_bytes` only."""
        return [name for name in self.schema.names if name != self.blob]


def _required(name: str) -> pa.Field:
    return pa.field(name, pa.string(), nullable=False)


def _schema(*keys: str, **types: pa.DataType) -> pa.Schema:
    fields = [pa.field(name, kind) for name, kind in types.items()]
    return pa.schema([_required(key) for key in keys] + fields)


_TEXT, _INT, _LONG, _REAL = pa.string(), pa.int32(), pa.int64(), pa.float64()

EMBEDDING_SIZE = 768  # of the largest common image towers (ViT-L/14); shorter ones end in zeros

# What clips are filtered by, and shown and exported with; null where it was not measured.
SCORES = (
    *("motion", "sharpness", "luma", "crushed_share", "blown_share"),
    *("static_share", "static_longest_s", "black_share", "black_longest_s"),
    *("bar_top_share", "bar_bottom_share", "bar_left_share", "bar_right_share"),
    *("aesthetic_score", "unsafe_score", "text_share"),
)

TABLES: dict[str, TableSpec] = {
    "sources": TableSpec(
        key=("uri",),
        volatile=frozenset({"mtime_ns", "etag"}),
        schema=_schema(
            "uri",
            source_id=_TEXT,
            status=_TEXT,  # accepted | duplicate | quarantined | withdrawn
            duplicate_of=_TEXT,
            size_bytes=_LONG,
            mtime_ns=_LONG,
            etag=_TEXT,  # what a store elsewhere marks a version by
            container=_TEXT,
            codec=_TEXT,
            width=_INT,
            height=_INT,
            fps=_REAL,
            duration_s=_REAL,
            num_frames=_INT,
            num_shots=_INT,
            boundaries_json=_TEXT,  # [{"kind": "cut"|"gradual", "start": frame, "end": frame}]
            hash_video=pa.binary(),
            licence=_TEXT,  # this and the next two: as a manifest says
            caption=_TEXT,
            tags=pa.list_(_TEXT),
            interlaced=pa.bool_(),
            recipe=_TEXT,
        ),
    ),
    "clips": TableSpec(
        key=("clip_id",),
        # What follows from pixels by floating point may differ from machine to machine, and is made
        # anew whenever the captioner is. What is concluded from it, groups and split, does count.
        volatile=frozenset(
            {
                *("embedding", "embedding_recipe", "signature"),
                *("near_duplicates", "duplicate_recipe"),
                *("aesthetic_version", "unsafe_version", "text_version"),
            }
        ),
        schema=_schema(
            "clip_id",
            source_id=_TEXT,
            start_frame=_INT,
            end_frame=_INT,  # exclusive
            start_s=_REAL,
            end_s=_REAL,
            offset_s=_REAL,  # where the span starts inside the stored bytes
            num_frames=_INT,
            fps=_REAL,
            width=_INT,
            height=_INT,
            status=_TEXT,  # accepted | rejected
            reason=_TEXT,
            motion=_REAL,
            sharpness=_REAL,
            luma=_REAL,
            static_share=_REAL,  # of its time, in which nothing changes
            static_longest_s=_REAL,
            black_share=_REAL,  # of its time
            black_longest_s=_REAL,
            bar_top_share=_REAL,  # of the height, black at all times; so for the other sides
            bar_bottom_share=_REAL,
            bar_left_share=_REAL,
            bar_right_share=_REAL,
            crushed_share=_REAL,  # of the picture inside its bars: shadows without detail
            blown_share=_REAL,  # …and lights without detail
            facts_json=_TEXT,
            sidecar=_TEXT,
            caption=_TEXT,
            caption_source=_TEXT,  # sidecar | endpoint | coca | facts
            caption_score=_REAL,
            caption_version=_TEXT,  # with clip and source the key of `captions`
            split=_TEXT,  # train | val
            recipe=_TEXT,
            embedding=pa.list_(pa.float32(), EMBEDDING_SIZE),  # of length 1
            embedding_recipe=_TEXT,  # only embeddings of one recipe can be compared
            signature=pa.binary(),  # uint8 colour grids over time, in which copies are recognized
            near_duplicates=pa.list_(_TEXT),  # clips that were there before; null: not compared yet
            duplicate_recipe=_TEXT,
            duplicate_of=_TEXT,  # the best of the clips that show the same; null: this one
            aesthetic_score=_REAL,  # by weights that a recipe names; null without them
            aesthetic_version=_TEXT,  # hash of the weights, and the embedding's recipe
            unsafe_score=_REAL,  # higher is less fit to be shown
            unsafe_version=_TEXT,
            text_share=_REAL,  # of the picture, where there is most text; null: nobody looked
            text_found=_TEXT,  # its lines, each once
            text_version=_TEXT,
        ),
    ),
    "captions": TableSpec(  # all that captioners said; `clips` says which of it is used
        key=("clip_id", "source", "version"),
        volatile=frozenset({"made_at"}),
        schema=_schema(
            "clip_id",
            "source",
            "version",  # "" of what a person wrote
            caption=_TEXT,
            score=_REAL,
            made_at=_TEXT,  # ISO 8601, UTC
        ),
    ),
    "clip_bytes": TableSpec(
        key=("clip_id",),
        blob="video",
        schema=pa.schema([_required("clip_id"), lance.blob_field("video")]),
    ),
    "latents": TableSpec(
        key=("clip_id", "vae_hash"),
        schema=_schema(
            "clip_id",
            "vae_hash",
            shape=pa.list_(pa.int32()),
            fps=_REAL,
            latent=pa.large_binary(),  # float16, C order
        ),
    ),
    "quarantine": TableSpec(
        key=("uri",),
        volatile=frozenset({"first_seen", "last_seen"}),
        schema=_schema(
            "uri",
            stage=_TEXT,
            reason=_TEXT,
            error=_TEXT,
            first_seen=_TEXT,  # ISO 8601, UTC
            last_seen=_TEXT,
        ),
    ),
}

# Latents are computed from a release by a trained model, so they are no part of its content:
# training on a release must not make the next refresh believe that the footage changed.
CONTENT_TABLES = ("sources", "clips", "captions", "clip_bytes", "quarantine")
