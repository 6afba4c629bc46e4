import subprocess
import sys
from pathlib import Path

from ingest.spool import LOCK, open_spool

HOLD = """
import sys, time
from pathlib import Path
from ingest.spool import open_spool
with open_spool(Path(sys.argv[1])) as folder:
    (folder / "clip").write_bytes(b"x")
    print("open", flush=True)
    time.sleep(60)
"""


def test_what_a_killed_job_left_is_removed_and_a_living_ones_is_not(tmp_path: Path) -> None:
    job = tmp_path / "jobs/first"
    command = [sys.executable, "-c", HOLD, str(job)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"open\n"
        with open_spool(tmp_path / "jobs/second"):
            assert (job / "spool/clip").exists()
        process.kill()
    with open_spool(tmp_path / "jobs/second") as folder:
        assert not (job / "spool").exists()
        assert [path.name for path in folder.iterdir()] == [LOCK]
    assert list((tmp_path / "jobs").glob("*/*")) == []


def test_only_our_own_folders_are_removed(tmp_path: Path) -> None:
    theirs = tmp_path / "other/spool/letters"
    theirs.mkdir(parents=True)
    with open_spool(tmp_path / "job"):
        pass
    assert theirs.exists()
