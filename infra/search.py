"""Finding clips: by the words of their captions, by likeness to a vector, or by both.

    by_words(lake, "a car turning left", columns, "motion > 0.2", limit=20)
    by_likeness(lake, query, version, columns, None, limit=20)

All return rows with a `_score`, best first, and look only at clips that meet the condition.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from infra.errors import NotFoundError
from infra.lake import Lake, bad_query, quote, quote_all

CAPTION_INDEX = "caption_words"
VECTOR_INDEX = "embedding_neighbours"
PROBES = 32  # partitions of the vector index that a query looks into
RANK_OFFSET = 60  # Cormack, Clarke and Büttcher, SIGIR 2009
FUSED_DEPTH = 200  # clips of either ranking that are considered together

Vector = npt.NDArray[np.float32]


def by_words(
    lake: Lake, text: str, columns: Sequence[str], where: str | None = None, limit: int = 20
) -> pa.Table:
    """Clips by how well their caption matches the words of `text`, best first.

    Words are stemmed ("cars" finds "car"); the score is BM25. The full-text index is made at the
    first search and kept up with the table at later ones.
    """
    _index_captions(lake)
    query = {"columns": ["caption"], "query": text}
    return _found(lake, "_score", columns, where, limit, full_text_query=query)


def by_likeness(
    lake: Lake,
    query: Vector,
    version: str,
    columns: Sequence[str],
    where: str | None = None,
    limit: int = 20,
) -> pa.Table:
    """Clips by the cosine of their embedding with `query`, which the same `version` made.

    Exact while there is no vector index; see `infra.upkeep` for when there is one.
    """
    condition = f"embedding_recipe = {quote(version)}" + (f" and ({where})" if where else "")
    nearest = {
        "column": "embedding", "q": query, "k": limit, "metric": "cosine", "nprobes": PROBES
    }  # fmt: skip
    table = _found(lake, "_distance", columns, condition, limit, nearest=nearest)
    cosines = [1 - distance for distance in table["_distance"].to_pylist()]
    scored = table.drop_columns("_distance").append_column(
        "_score", pa.array(cosines, pa.float32())
    )
    return scored.sort_by([("_score", "descending")])


def by_both(
    lake: Lake,
    text: str,
    query: Vector,
    version: str,
    columns: Sequence[str],
    where: str | None = None,
    limit: int = 20,
) -> pa.Table:
    """Clips that the words or the vector find, by reciprocal rank fusion of the two rankings.

    The score is the sum of 1 / (60 + rank) over the rankings that hold the clip: BM25 and cosine
    have no common scale, ranks have.
    """
    depth = max(limit, FUSED_DEPTH)
    rankings = (
        by_words(lake, text, ["clip_id"], where, depth),
        by_likeness(lake, query, version, ["clip_id"], where, depth),
    )
    scores: dict[str, float] = defaultdict(float)
    for ranking in rankings:
        for rank, clip_id in enumerate(ranking["clip_id"].to_pylist(), start=1):
            scores[clip_id] += 1 / (RANK_OFFSET + rank)
    kept = sorted(scores, key=lambda clip_id: (-scores[clip_id], clip_id))[:limit]
    rows = lake.read("clips", list({"clip_id": 0} | dict.fromkeys(columns)), _among(kept))
    score = [scores[clip_id] for clip_id in rows["clip_id"].to_pylist()]
    return rows.append_column("_score", pa.array(score, pa.float32())).sort_by(
        [("_score", "descending"), ("clip_id", "ascending")]
    )


def embedding_of(lake: Lake, clip_id: str) -> tuple[Vector, str, str]:
    """Embedding and version of a clip, and its whole id, given the id or the beginning of one.

    Raises:
        NotFoundError: no such clip, several, or it has no embedding.
    """
    rows = lake.read(
        "clips",
        ["clip_id", "embedding", "embedding_recipe"],
        f"starts_with(clip_id, {quote(clip_id)})",
    ).to_pylist()
    if len(rows) != 1:
        found = f"{len(rows)} clips begin" if rows else "no clip begins"
        raise NotFoundError(
            f"{found} with {clip_id!r}; give a video or picture file, or a clip's id as "
            "reel search prints it"
        )
    (row,) = rows
    if row["embedding"] is None:
        raise NotFoundError(f"clip {clip_id!r} has no embedding yet; run: reel refresh")
    return np.array(row["embedding"], np.float32), row["embedding_recipe"], row["clip_id"]


def embedding_version(lake: Lake) -> str:
    """The version of most accepted clips' embeddings.

    Raises:
        NotFoundError: no clip has an embedding.
    """
    where = "status = 'accepted' and embedding_recipe is not null"
    counts = lake.read("clips", ["embedding_recipe"], where)["embedding_recipe"].value_counts()
    if not len(counts):
        raise NotFoundError(
            f"no clip in {lake.uri} has an embedding, so nothing can be compared; "
            "run: reel refresh FOLDER"
        )
    most = max(counts.to_pylist(), key=lambda entry: (entry["counts"], entry["values"]))
    return str(most["values"])


def _found(
    lake: Lake, score: str, columns: Sequence[str], where: str | None, limit: int, **query: Any
) -> pa.Table:
    try:
        found: pa.Table = lake.dataset("clips").to_table(
            columns=[*columns, score],
            filter=where,
            prefilter=True,
            disable_scoring_autoprojection=True,
            limit=limit,
            **query,
        )
    except (OSError, ValueError) as error:
        raise bad_query("clips", where, error) from error
    return found.sort_by([(score, "descending")])


def _index_captions(lake: Lake) -> None:
    dataset = lake.dataset("clips")
    if any(index.name == CAPTION_INDEX for index in dataset.describe_indices()):
        dataset.optimize.optimize_indices()
        return
    # "up" and "down" count as stop words, and a caption's words all mean something.
    dataset.create_scalar_index(
        "caption", "INVERTED", name=CAPTION_INDEX, stem=True, remove_stop_words=False
    )


def _among(clip_ids: Sequence[str]) -> str:
    return f"clip_id in ({quote_all(clip_ids)})" if clip_ids else "false"
