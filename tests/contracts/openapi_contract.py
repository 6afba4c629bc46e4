"""schemathesis over every operation of a running server's OpenAPI, spoken well and badly."""

import json
import re
import subprocess
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from sysconfig import get_path
from typing import Any

SECONDS = 30  # of the whole run
ANSWERS = re.compile(
    r'reel_http_requests_total\{method="(\w+)",route="([^"]+)",status="(\d+)"\} ([\d.e+]+)'
)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What schemathesis reported, and how often the server gave which answer to what."""

    status: int
    said: str
    report: dict[str, Any]
    answers: dict[tuple[str, str, str], int]

    @property
    def server_errors(self) -> int:
        """By the server's own count, or by schemathesis' where a server died before it counted."""
        counted = sum(n for (_, _, status), n in self.answers.items() if status.startswith("5"))
        return max(counted, len(self.report["failures"]) + len(self.report["errors"]))


def run(url: str, folder: Path) -> Outcome:
    """Ask the server at `url` everything that its /openapi.json offers."""
    report = folder / "report.json"
    command = [
        str(Path(get_path("scripts")) / "schemathesis"), "run", f"{url}/openapi.json",
        "--checks=not_a_server_error", "--phases=examples,coverage,fuzzing,stateful",
        f"--max-time={SECONDS}", "--generation-deterministic", "--request-timeout=60",
        "--warnings=off", "--no-color", f"--report-json-path={report}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=300)
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as reply:
        found = ANSWERS.findall(reply.read().decode())
    return Outcome(
        status=done.returncode,
        said=done.stdout + done.stderr,
        report=json.loads(report.read_text()),
        answers={
            (method, route, status): int(float(count)) for method, route, status, count in found
        },
    )
