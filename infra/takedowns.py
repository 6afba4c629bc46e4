"""Takedowns in the catalog: which sources were withdrawn, when and why, and what had seen them."""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import select

from infra.catalog import Catalog
from infra.catalog_models import Takedown


def record_takedown(
    catalog: Catalog,
    places: Mapping[str, str],
    reason: str,
    releases: Mapping[str, Any],
    model_versions: Mapping[str, Any],
) -> None:
    """Remember that these sources (id to URI) were withdrawn. Told again, it adds what is new: a
    takedown that was cut short has forgotten by then what it removed."""
    with catalog.session() as session:
        for source_id, place in sorted(places.items()):
            row = session.get(Takedown, source_id)
            if row is None:
                row = Takedown(source_id=source_id, place=place, releases={}, model_versions={})
                session.add(row)
            row.reason = reason or row.reason or ""
            row.releases = {**releases, **row.releases}
            row.model_versions = {**model_versions, **row.model_versions}


def list_takedowns(catalog: Catalog, source_ids: Iterable[str] | None = None) -> list[Takedown]:
    """All takedowns, or those of some sources; oldest first."""
    query = select(Takedown).order_by(Takedown.created_at, Takedown.source_id)
    if source_ids is not None:
        query = query.where(Takedown.source_id.in_(list(source_ids)))
    with catalog.session(read_only=True) as session:
        return list(session.scalars(query))
