"""schemathesis speaks every operation of the OpenAPI, well and badly, to the real server.

The figure `schemathesis_5xx` is the number of server errors, counted by it and by our metrics.
"""

import json
import re
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from sysconfig import get_path

import pytest

from tests.contracts.server import Server, serving
from tests.postgres import postgres

SECONDS = 30  # of the whole run
ANSWERS = re.compile(r'reel_http_requests_total\{method="(\w+)",route="([^"]+)",status="(\d+)"\}')


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    # PostgreSQL is the stricter database: what it refuses must have been refused before.
    home = tmp_path_factory.mktemp("serving")
    with postgres() as url, serving(home, 0.0, REEL_CATALOG_URL=url) as server:
        yield server


def test_no_request_makes_a_server_error(server: Server, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = [
        str(Path(get_path("scripts")) / "schemathesis"), "run", f"{server.url}/openapi.json",
        "--checks=not_a_server_error", "--phases=examples,coverage,fuzzing,stateful",
        f"--max-time={SECONDS}", "--generation-deterministic", "--request-timeout=60",
        "--warnings=off", "--no-color", f"--report-json-path={report}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(report.read_text())
    assert (found["failures"], found["errors"]) == ([], [])
    assert found["operations"]["tested"] == found["operations"]["total"] > 20
    with urllib.request.urlopen(f"{server.url}/metrics", timeout=30) as reply:
        answers = set(ANSWERS.findall(reply.read().decode()))
    assert not [answer for answer in answers if answer[2].startswith("5")]
    # It is not only refused at the door.
    for path in ("/v1/videos", "/v1/images/generations", "/v1/webhook_endpoints"):
        assert ("POST", path, "200") in answers
