"""Two majors of the openai client against the real server.

The lock holds one major. The other is installed from openai-2.lock into a folder of its own,
once, and the same script runs with that folder first on its path.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.contracts.server import serving
from tests.postgres import postgres

HERE = Path(__file__).parent
LOCK = HERE / "openai-2.lock"
ROOT = HERE.parents[1]
CACHE = ROOT / ".reel" / "cache"
MAJORS = ("2", "3")


def client_folder(major: str, cache: Path = CACHE) -> Path | None:
    """Where that major of the client lies; None is this environment's own."""
    if major != "2":
        return None
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    name = hashlib.sha256(LOCK.read_bytes() + python.encode()).hexdigest()[:12]
    folder = cache / f"openai-2-{name}"
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(dir=cache))
        uv = Path(sys.executable).with_name("uv")
        command = [str(uv), "pip", "install", "--quiet", "--no-deps", "--target", str(new)]
        subprocess.run([*command, "--python", sys.executable, "-r", str(LOCK)], check=True)
        try:
            new.rename(folder)
        except OSError:  # somebody else was first
            shutil.rmtree(new)
    return folder


def run(major: str, home: Path) -> dict[str, str]:
    """{case: "" or its traceback} of one major against a server that lives in `home`.

    The server keeps its jobs in PostgreSQL for one major and in SQLite for the other.
    """
    with ExitStack() as stack:
        settings = {"REEL_CATALOG_URL": stack.enter_context(postgres())} if major == "2" else {}
        server = stack.enter_context(serving(home, 0.01, **settings))
        return _run(major, f"{server.url}/v1")


def _run(major: str, base_url: str) -> dict[str, str]:
    folders = [str(folder) for folder in (client_folder(major), ROOT) if folder]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.contracts.openai_cases", base_url],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(folders)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["version"].split(".")[0] == major, answer["version"]
    results: dict[str, str] = answer["results"]
    return results
