"""Whatever workers, users and sweeps do to a job, in any order, it ends once and is paid once."""

import shutil
import tempfile
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule
from sqlalchemy import select

from infra.catalog import Catalog
from infra.catalog_models import Artifact, GenerationJob, JobEvent, Usage
from infra.errors import NotFoundError
from serving.jobs import Claim, JobStore, new_job_id

ENDED = ("completed", "failed")


class JobStates(RuleBasedStateMachine):
    """A store that two workers, a user and the sweep work on; claims are used again and again."""

    template: Path

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        shutil.copy(self.template, self.folder / "catalog.db")
        self.catalog = Catalog(f"sqlite:///{self.folder / 'catalog.db'}")
        self.store = JobStore(self.catalog, self.folder / "media", 3600, lease_s=600)
        self.known: dict[str, str] = {}  # what each job that ended ended as
        self.accepted = 0

    jobs, claims = Bundle("jobs"), Bundle("claims")

    @rule(target=jobs)
    def submit(self) -> str:
        job = GenerationJob(
            id=new_job_id("video"), kind="video", prompt="a", params={"seed": 1}, seconds=1.0
        )
        self.accepted += 1
        return self.store.submit(job)[0].id

    @rule(target=claims, worker=st.sampled_from(["a", "b"]))
    def claim(self, worker: str) -> Claim | None:
        return self.store.claim(worker, "3")

    @rule(claim=claims)
    def complete(self, claim: Claim | None) -> None:
        if claim is not None:
            file = Artifact(job_id=claim.job.id, name="video", media_type="video/mp4", path="x",
                            size_bytes=1, sha256="")  # fmt: skip
            self.store.complete(claim, [file], {"sample_s": 1.0, "encode_s": 0.5})

    @rule(claim=claims)
    def fail(self, claim: Claim | None) -> None:
        if claim is not None:
            self.store.fail(claim, "generation_failed", "No.")

    @rule(claim=claims)
    def release(self, claim: Claim | None) -> None:
        if claim is not None:
            self.store.release(claim)

    @rule(claim=claims, progress=st.integers(0, 100))
    def renew(self, claim: Claim | None, progress: int) -> None:
        if claim is not None:
            self.store.renew(claim, progress=progress, stage="sampling")

    @rule(worker=st.sampled_from(["a", "b"]))
    def lose(self, worker: str) -> None:
        self.store.requeue_lost(lambda owner: owner == worker)

    @rule(job=jobs)
    def cancel(self, job: str) -> None:
        if self._there(job):
            self.store.cancel(job)

    @rule(job=consumes(jobs))
    def delete(self, job: str) -> None:
        if self._there(job):
            self.store.delete(job)
            self.known.pop(job, None)

    def _there(self, job: str) -> bool:
        try:
            self.store.get(job)
        except NotFoundError:
            return False
        return True

    @invariant()
    def what_has_ended_stays_as_it_is(self) -> None:
        with self.catalog.session(read_only=True) as session:
            rows = list(session.scalars(select(GenerationJob)))
            ends = [e.job_id for e in session.scalars(select(JobEvent)) if e.type in ENDED]
            charged = list(session.scalars(select(Usage.job_id)))
            files = list(session.scalars(select(Artifact.job_id)))
        for job in rows:
            assert (job.lease_owner is not None) == (job.status == "in_progress")
            assert ends.count(job.id) == (job.status in ENDED)
            assert files.count(job.id) == (job.status == "completed")
            assert self.known.get(job.id, job.status) == job.status
            if job.status in ENDED:
                self.known[job.id] = job.status
            elif job.id in charged:
                raise AssertionError(f"{job.id} is charged before its end")
        assert len(charged) == len(set(charged)) <= self.accepted

    def teardown(self) -> None:
        self.catalog.close()
        shutil.rmtree(self.folder)


# Few runs, always the same: a state machine without end would be a suite of its own.
TestJobStates = JobStates.TestCase
TestJobStates.settings = settings(
    max_examples=8,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def setup_module() -> None:
    folder = Path(tempfile.mkdtemp())
    JobStates.template = folder / "catalog.db"
    catalog = Catalog(f"sqlite:///{JobStates.template}")
    catalog.migrate()
    catalog.close()


def teardown_module() -> None:
    shutil.rmtree(JobStates.template.parent)
