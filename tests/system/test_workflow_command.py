"""`reel storyboard` against a server that is killed while it works."""

import json
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import opentimelineio as otio
import yaml

from tests.contracts.server import Server, serving

PLAN = {
    "title": "Night watch",
    "size": "48x32",
    "slate_s": 0,
    "script": "watch.fountain",
    "continuity": "scene",
    "takes": 2,
}
SCRIPT = "INT. TOWER - NIGHT\n\nA lamp.\n\nA door opens.\n\nGUARD\nWho is there?\n"


def reel(server: Server, home: Path, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", "from flows.cli import main; main()", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={"REEL_HOME": str(home), "REEL_SERVE_PORT": str(server.port), "PATH": "/usr/bin:/bin"},
    )


def get(server: Server, path: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{server.url}/v1/{path}", timeout=30) as reply:
        found: dict[str, Any] = json.load(reply)
        return found


def test_a_killed_server_goes_on_and_makes_no_shot_twice(tmp_path: Path) -> None:
    plan, out = tmp_path / "watch.yaml", tmp_path / "out"
    plan.write_text(yaml.safe_dump(PLAN))
    (tmp_path / "watch.fountain").write_text(SCRIPT)
    with serving(tmp_path / "server", 0.1) as server:
        running = reel(server, tmp_path, "storyboard", str(plan), "--out", str(out))
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not done(server):
            time.sleep(0.05)
        server.stop(signal.SIGKILL)
        server.start()
        said, _ = running.communicate(timeout=120)
        assert running.returncode == 0, said
        videos = get(server, "videos")["data"]
        assert len(videos) == 4 and {video["status"] for video in videos} == {"completed"}
        cut = otio.adapters.read_from_file(str(out / "night-watch.otio"))
        assert len(list(cut.find_clips())) == 2
        manifest = json.loads((out / "manifest.json").read_text())
        assert {take["job_id"] for take in manifest["takes"]} == {v["id"] for v in videos}
        assert all((out / take["name"]).is_file() for take in manifest["takes"])

        again = reel(server, tmp_path, "storyboard", str(plan), "--out", str(out),
                     "--retake", "s020")  # fmt: skip
        said, _ = again.communicate(timeout=120)
        assert again.returncode == 0 and "s020 take 3  done" in said, said
        assert len(get(server, "videos")["data"]) == 5
        assert len(get(server, "workflows")["data"]) == 1

        wrong = reel(server, tmp_path, "storyboard", str(plan), "--choose", "s020=9")
        said, _ = wrong.communicate(timeout=60)
        assert wrong.returncode == 1 and said.startswith("reel: take 9 of 's020'"), said


def done(server: Server) -> bool:
    """Whether a take is finished, but not all are."""
    return any(
        take["status"] == "completed"
        for found in get(server, "workflows")["data"]
        for shot in found["shots"]
        for take in shot["takes"]
    )
