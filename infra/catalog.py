"""The catalog: a SQL database of job attempts, releases, generation jobs, artifacts and API keys.

    catalog = Catalog(settings.catalog_url); catalog.migrate()
    with catalog.session() as session:
        session.add(ApiKey(name="studio", hash="…"))

SQLite by default, in WAL mode; PostgreSQL by URL.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.orm import Session

MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_TIMEOUT_MS = 30_000
MIGRATION_LOCK = 0x5245454C  # any fixed number that only we use: "REEL"


class Catalog:
    """Sessions on the catalog database.

    Args:
        url: SQLAlchemy URL, such as `sqlite:////data/catalog.db` or `postgresql+psycopg://…`.
    """

    def __init__(self, url: str) -> None:
        self.url = make_url(url)
        self._engine = _engine(str(url), sqlite=self._is_sqlite)
        # Made once: making one takes as long as reading a row.
        self._reading = self._engine.execution_options(reel_read_only=True)

    @property
    def _is_sqlite(self) -> bool:
        return self.url.get_backend_name() == "sqlite"

    def migrate(self) -> None:
        """Bring the schema to the newest version; any number of processes may call it at once."""
        if self._is_sqlite and self.url.database:
            Path(self.url.database).parent.mkdir(parents=True, exist_ok=True)
        if self._revision() == _newest_revision():
            return  # without importing Alembic, which takes longer than all the rest

        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
        with self._engine.begin() as connection:
            # On SQLite the transaction already holds the write lock; the loser of the race waits
            # there, then finds the schema current.
            if not self._is_sqlite:
                connection.execute(text(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    @contextmanager
    def session(self, *, read_only: bool = False) -> Iterator[Session]:
        """A session in one transaction: committed on success, rolled back on any exception.

        `read_only` takes no write lock, so that polling does not hold up writers.
        """
        engine = self._reading if read_only else self._engine
        with Session(engine, expire_on_commit=False) as session, session.begin():
            yield session

    def lock(self, session: Session, name: str) -> None:
        """Let one transaction at a time go on from here, of all that lock the same name.

        On SQLite a writing transaction is alone from its beginning.
        """
        if not self._is_sqlite:
            key = int.from_bytes(sha256(name.encode()).digest()[:8], signed=True)
            session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})

    def _revision(self) -> str | None:
        with self.session(read_only=True) as session:
            if not inspect(session.connection()).has_table("alembic_version"):
                return None
            found: str | None = session.scalar(text("SELECT version_num FROM alembic_version"))
            return found

    def close(self) -> None:
        """Close pooled connections."""
        self._engine.dispose()


def _newest_revision() -> str:
    """Migration files are named REVISION_what.py and sort by age."""
    return sorted((MIGRATIONS / "versions").glob("[0-9]*.py"))[-1].name.split("_")[0]


def _engine(url: str, *, sqlite: bool) -> Engine:
    # A statement's values are users' words and secrets: no error message may carry them to a log.
    if not sqlite:
        return create_engine(url, pool_pre_ping=True, hide_parameters=True)
    timeout = {"timeout": BUSY_TIMEOUT_MS / 1000}
    engine = create_engine(url, connect_args=timeout, hide_parameters=True)
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _configure_sqlite(connection: Any, _record: Any) -> None:
    # The driver's own transaction handling would begin late and commit around DDL; we begin.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes later cannot wait for the lock ("database is
    # locked" at once), so a writer takes the lock at its beginning.
    read_only = connection.get_execution_options().get("reel_read_only", False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")
