"""Upkeep of the lake after a refresh: small tables in few files, indices where they pay.

Bytes of clips are never moved: their table grows by whole fragments and is not compacted. Nor has
it an index over ids: a scan of 100,000 finds 64 of them in 10 ms; an index, which has to be loaded
whenever the table is opened, in 15.

Each act is one commit, so a process that is killed leaves the lake as it was before or after it;
files of an unfinished one belong to no version, and Lance removes them with old versions.
"""

from typing import Any

from infra.lake import Lake
from infra.search import VECTOR_INDEX

COMPACTED = ("sources", "clips", "captions", "quarantine")
MANY_FRAGMENTS = 16
"""Of a small table; every fragment costs each query a file or two to open."""
INDEXED_VECTORS = 65_536
"""Embeddings from which a vector index is: below, an exact search takes about a second."""
ROWS_A_PARTITION = 256  # so many rows are compared one by one in each partition that is probed


def keep_up(lake: Lake) -> list[str]:
    """Compact what is scattered and bring indices up to date; returns what was done."""
    done = [f"compacted {table}" for table in COMPACTED if _compact(lake.dataset(table))]
    many = lake.count("clips", "embedding is not null") >= INDEXED_VECTORS
    if many and _index_vectors(lake.dataset("clips")):
        done.append("indexed embeddings")
    return done


def _compact(dataset: Any) -> bool:
    if len(dataset.get_fragments()) <= MANY_FRAGMENTS:
        return False
    dataset.optimize.compact_files()
    return True


def _index_vectors(dataset: Any) -> bool:
    """IVF without quantization: distances stay exact, only far partitions are left out."""
    if any(index.name == VECTOR_INDEX for index in dataset.describe_indices()):
        before = dataset.version
        dataset.optimize.optimize_indices()  # rows written since were searched one by one
        return bool(dataset.version != before)
    dataset.create_index(
        "embedding",
        "IVF_FLAT",
        name=VECTOR_INDEX,
        metric="cosine",
        num_partitions=max(1, dataset.count_rows() // ROWS_A_PARTITION),
    )
    return True
