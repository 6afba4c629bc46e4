"""A real PostgreSQL server for tests: a cluster of its own in a temporary folder, on a socket.

    with postgres() as url: Catalog(url).migrate()

It comes with the machine's packages (Debian: `apt-get install postgresql`). PostgreSQL refuses to
run as root, so root starts it as `postgres` or `nobody`.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

USERS = ("postgres", "nobody")


def program(name: str) -> str:
    """The path of one of PostgreSQL's programs."""
    debian = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    found = shutil.which(name) or (str(debian[-1]) if debian else None)
    assert found, f"PostgreSQL's {name} is not on this machine: apt-get install postgresql"
    return found


class Postgres(str):
    """The URL of a running server's database."""

    restart: Callable[[], None]
    """Kill the server as a crash would, and start it again."""


@contextmanager
def postgres() -> Iterator[Postgres]:
    """A running server; it and its data are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="reel-pg-") as folder:
        user = _ordinary_user(Path(folder))
        data = Path(folder) / "data"
        control = [program("pg_ctl"), "--pgdata", str(data), "--wait"]
        # Not for keeps: what survives a power cut is not tested here.
        options = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off"
        log = ["--log", str(Path(folder) / "log")]
        _run([program("initdb"), "--pgdata", str(data), "--auth=trust", "--username=reel",
              "--no-sync", "--encoding=UTF8", "--locale=C"], user)  # fmt: skip
        start = [*control, *log, "--options", options, "start"]
        stop = [*control, "--mode=immediate", "stop"]

        def restart() -> None:
            _run(stop, user)
            _run(start, user)

        _run(start, user)
        try:
            url = Postgres(f"postgresql+psycopg://reel@/postgres?host={folder}")
            url.restart = restart
            yield url
        finally:
            _run(stop, user)


def _ordinary_user(folder: Path) -> dict[str, Any]:
    """Arguments of `subprocess.run` that give root's rights up; `folder` becomes that user's."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name for entry in pwd.getpwall()}
    name = next(name for name in USERS if name in names)
    shutil.chown(folder, name)
    return {"user": name, "group": pwd.getpwnam(name).pw_gid, "extra_groups": []}


def _run(command: list[str], user: dict[str, Any]) -> None:
    # Files, not pipes: the server keeps what pg_ctl was given, and a pipe would never end.
    with tempfile.TemporaryFile() as output:
        done = subprocess.run(command, stdout=output, stderr=output, cwd="/", **user)
        output.seek(0)
        assert done.returncode == 0, output.read().decode()
