"""Alembic's entry: migrate on the connection, in the transaction, that the catalog gives."""

from alembic import context

from infra.catalog_models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite alters tables by copying them
)
context.run_migrations()
