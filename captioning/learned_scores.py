"""Learned scores in the lake, kept up with the embeddings and with the heads' weights."""

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from captioning.heads import Head
from captioning.recipe import HEADS
from infra.job_files import JobContext
from infra.lake import Lake, quote
from infra.lake_schema import EMBEDDING_SIZE

CLIPS_A_COMMIT = 2048
DIGITS = 3  # more would differ from machine to machine

Row = dict[str, Any]


def update_scores(
    context: JobContext, lake: Lake, heads: Mapping[str, Head], embedder: str
) -> dict[str, int]:
    """Score the accepted clips whose score is not of this head and of the embeddings of version
    `embedder`; a score without such a head or embedding becomes null.

    Returns:
        How many clips were scored, by kind.
    """
    return {
        kind: _update(context, lake, kind, heads.get(kind), embedder)
        for kind in HEADS
        if kind in heads or lake.count("clips", f"{kind}_version is not null")
    }


def unscored(heads: Mapping[str, Head]) -> str:
    """A condition that finds clips whose score is of other weights; empty when none can be."""
    return " or ".join(
        f"(embedding_recipe is not null and not "
        f"starts_with(coalesce({kind}_version, ''), {quote(head.version)}))"
        for kind, head in heads.items()
    )


def _update(context: JobContext, lake: Lake, kind: str, head: Head | None, embedder: str) -> int:
    column, marks = f"{kind}_score", f"{kind}_version"
    version = f"{head.version}@{embedder}" if head else ""
    here = f"embedding_recipe = {quote(embedder)}" if head else "false"
    gone = f"{marks} is not null and not coalesce({here}, false)"
    stale = lake.read("clips", ["clip_id"], gone)["clip_id"].to_pylist()
    lake.upsert("clips", [{"clip_id": i, column: None, marks: None} for i in stale])
    if head is None:
        return 0
    where = f"status = 'accepted' and {here} and coalesce({marks}, '') != {quote(version)}"
    total, done = lake.count("clips", where), 0
    waiting = list[Row]()
    for batch in _batches(lake, where):
        context.raise_if_stopping()
        flat = batch["embedding"].flatten().to_numpy()
        scores = head.score(flat.reshape(-1, EMBEDDING_SIZE))
        for clip_id, score in zip(batch["clip_id"].to_pylist(), scores.tolist(), strict=True):
            waiting.append({"clip_id": clip_id, column: round(score, DIGITS), marks: version})
        if len(waiting) >= CLIPS_A_COMMIT:
            lake.upsert("clips", waiting)
            done, waiting = done + len(waiting), []
            context.progress(done, total, f"{kind} scores: {done} of {total} clips")
    lake.upsert("clips", waiting)
    return done + len(waiting)


def _batches(lake: Lake, where: str) -> Iterator[pa.RecordBatch]:
    """Ids and embeddings as they were at the beginning, a part at a time."""
    columns = ["clip_id", "embedding"]
    yield from lake.dataset("clips").to_batches(
        columns=columns, filter=where, batch_size=CLIPS_A_COMMIT
    )
