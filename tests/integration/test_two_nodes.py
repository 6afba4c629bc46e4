"""Work on a cluster of two nodes: they share no disk, so films travel; or models look at clips of
a lake that both see."""

import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import psutil
import pytest

from infra.job_files import read_json, write_json
from infra.lake import Lake
from infra.settings import Settings
from tests.unit.ingest.footage import join, shot, three_shots, write

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 120


class _Site(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Names films on a web server: eight good ones, one of them twice, and two broken ones."""
    folder = tmp_path_factory.mktemp("site")
    for seed in range(6):
        three_shots(folder / f"{seed}.mp4", seed=seed)
    frames = join([shot(91, 40), shot(92, 40)], [("cut", 0)])
    write(folder / "good.mp4", frames, options={"crf": "40"})
    write(folder / "poor.mp4", frames[:, ::2, ::2], options={"crf": "10"})
    (folder / "broken.mp4").write_bytes((folder / "3.mp4").read_bytes()[:2000])
    (folder / "empty.mp4").touch()
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), lambda *args: _Site(*args, directory=str(folder))
    )
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    names = "\n".join(sorted(path.name for path in folder.iterdir()))
    path = folder.with_name("manifest.csv")
    address = f"http://127.0.0.1:{server.server_port}"
    path.write_text("uri\n" + "\n".join(f"{address}/{name}" for name in names.splitlines()))
    yield path
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def nodes(
    settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[int, list[Path]]]:
    """The port of a cluster of two nodes, and the folder for temporary files of either."""
    folders = [tmp_path_factory.mktemp(f"node-{number}") for number in (1, 2)]
    with subprocess.Popen(
        [sys.executable, "-m", "tests.two_nodes", *map(str, folders)],
        cwd=ROOT,
        env={**os.environ, **settings.process_env(), "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as cluster:
        assert cluster.stdout is not None
        address = cluster.stdout.readline().strip()
        yield int(address.rsplit(":", 1)[1]), folders
        cluster.communicate(timeout=TIMEOUT_S)
    assert cluster.returncode == 0


def test_models_look_at_clips_on_two_nodes_and_a_killed_worker_loses_nothing(
    nodes: tuple[int, list[Path]], tmp_path: Path
) -> None:
    """First, while every core is free: the ingest below waits for its own."""
    command = [sys.executable, "-m", "tests.two_node_models", str(tmp_path), str(nodes[0])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "answers").open("rb") as handle:
        found, expected = pickle.load(handle)
    assert len({row["caption"] for row in expected}) > 1
    for row, other in zip(found, expected, strict=True):
        vectors = [np.array(answer.pop("embedding") or [0.0]) for answer in (row, other)]
        np.testing.assert_allclose(*vectors, atol=1e-5)
        scores = [answer.pop("score") for answer in (row, other)]
        assert scores[0] == pytest.approx(scores[1], abs=1e-5)
    assert found == expected  # captions, signatures, and what does not decode


def ingest(
    home: str, folder: Path, manifest: Path, parallel: str, cwd: Path, ray_port: int = 0
) -> psutil.Popen:
    write_json(folder / "spec.json", {"uri": str(manifest), "recipe": {}, "parallel": parallel})
    command = [sys.executable, "-m", "ingest.job", "--spec", str(folder / "spec.json")]
    environment = {
        **os.environ,
        "REEL_HOME": home,
        "REEL_LAKE_URI": f"{home}/lake",
        "REEL_RAY_PORT": str(ray_port),
    }
    with (folder / "log.txt").open("wb") as log:
        return psutil.Popen(command, cwd=cwd, stdout=log, stderr=log, env=environment)


def test_two_nodes_that_share_no_disk_make_the_lake_that_one_process_makes(
    nodes: tuple[int, list[Path]], manifest: Path, tmp_path: Path
) -> None:
    ray_port, own_folders = nodes
    alone = ingest(str(tmp_path / "alone"), tmp_path / "job-1", manifest, "inline", tmp_path)
    assert alone.wait(TIMEOUT_S) == 0, (tmp_path / "job-1/log.txt").read_text()
    # A home that leads elsewhere in every other process: what the job fetches, only it sees.
    home = "/proc/self/cwd/home"
    job = ingest(home, tmp_path / "job-2", manifest, "ray", tmp_path, ray_port)
    # A node's copies of films that it does not see; clips of node 2 come back to the job's folder.
    spools = [tmp_path / "job-2", own_folders[1]]
    read_by = [set[str](), set[str]()]
    deadline = time.monotonic() + TIMEOUT_S
    while job.poll() is None and time.monotonic() < deadline:
        for sent, spool in zip(read_by, spools, strict=True):
            names = (name for _, folders, _ in os.walk(spool) for name in folders)
            sent.update(name for name in names if name.startswith("copy-"))
        time.sleep(0.02)
    assert job.wait(1) == 0, (tmp_path / "job-2/log.txt").read_text()
    results = [read_json(tmp_path / f"job-{number}/result.json") for number in (1, 2)]
    assert results[0] is not None and results[1] is not None
    assert results[0]["funnel"]["accepted"] == 7
    assert results[1]["funnel"] == results[0]["funnel"]
    hashes = [Lake(str(tmp_path / name / "lake")).content_hash() for name in ("alone", "home")]
    assert hashes[0] == hashes[1]
    assert all(read_by), "a node that read nothing"
