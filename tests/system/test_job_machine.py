"""Whatever users, workers and time do to jobs, in any order: each ends once, and is paid once."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import select

from infra.catalog import Catalog
from infra.catalog_models import Usage
from infra.errors import NotFoundError
from serving.happenings import ENDS
from serving.jobs import MAX_ATTEMPTS, JobStore
from serving.leases import Claim
from tests.unit.serving.conftest import empty_catalog  # noqa: F401 - the fixture
from tests.unit.serving.test_job_store import job


class Jobs(RuleBasedStateMachine):
    empty: Path  # a migrated database to copy
    claims = Bundle("claims")
    jobs = Bundle("jobs")

    def __init__(self) -> None:
        super().__init__()
        self.home = TemporaryDirectory()
        shutil.copy(self.empty, f"{self.home.name}/catalog.db")
        self.catalog = Catalog(f"sqlite:///{self.home.name}/catalog.db")
        self.store = JobStore(self.catalog, Path(self.home.name) / "media", 3600, lease_s=3600)
        self.ended: dict[str, str] = {}  # how each job ended, seen once
        self.deleted: set[str] = set()
        self.owner: dict[str, Claim] = {}  # the one claim that may still write

    def teardown(self) -> None:
        self.catalog.close()
        self.home.cleanup()

    @rule(target=jobs, key=st.sampled_from([None, "k1", "k2"]))
    def submit(self, key: str | None) -> object:
        made, created = self.store.submit(job(idempotency_key=key, request_hash="h"))
        return made.id if created else multiple()

    @rule(target=claims, worker=st.sampled_from(["a", "b"]))
    def claim(self, worker: str) -> object:
        claim = self.store.claim(worker)
        if claim is None:
            return multiple()
        assert claim.job.id not in self.ended and claim.job.id not in self.owner
        self.owner[claim.job.id] = claim
        return claim

    def _mine(self, claim: Claim) -> bool:
        return self.owner.get(claim.job.id) == claim

    @rule(claim=claims, progress=st.integers(0, 100))
    def renew(self, claim: Claim, progress: int) -> None:
        assert self.store.renew(claim, progress=progress, stage="s") == self._mine(claim)

    @rule(claim=claims, well=st.booleans())
    def finish(self, claim: Claim, well: bool) -> None:
        mine = self._mine(claim)
        if well:
            assert self.store.complete(claim, [], {"sample_s": 1.0}) == mine
        else:
            assert self.store.fail(claim, "c", "m") == mine
        if mine:
            self._end(claim.job.id, "completed" if well else "failed")

    @rule(claim=consumes(claims))
    def release(self, claim: Claim) -> None:
        mine = self._mine(claim)
        assert self.store.release(claim) == mine
        if mine:
            del self.owner[claim.job.id]

    @rule(worker=st.sampled_from(["a", "b"]))
    def worker_dies(self, worker: str) -> None:
        self.store.requeue_lost(lambda owner: owner == worker)
        for job_id, claim in list(self.owner.items()):
            if claim.owner == worker:
                del self.owner[job_id]
                if claim.attempt >= MAX_ATTEMPTS:
                    self._end(job_id, "failed")

    @rule(job_id=jobs)
    def cancel(self, job_id: str) -> None:
        if job_id in self.deleted:
            return
        self.store.cancel(job_id)
        if job_id not in self.ended:
            self._end(job_id, "failed")

    @rule(job_id=jobs)
    def delete(self, job_id: str) -> None:
        try:
            self.store.delete(job_id)
            assert job_id not in self.deleted
        except NotFoundError:
            assert job_id in self.deleted
        self.deleted.add(job_id)
        self.owner.pop(job_id, None)

    def _end(self, job_id: str, how: str) -> None:
        assert job_id not in self.ended
        self.ended[job_id] = how
        self.owner.pop(job_id, None)

    @invariant()
    def each_job_ended_once_as_it_was_told(self) -> None:
        for job_id, how in self.ended.items():
            if job_id not in self.deleted:
                assert self.store.get(job_id).status == how
                log = [event.type for event in self.store.events(job_id)]
                assert [kind for kind in log if kind in ENDS] == [how] == log[-1:]

    @invariant()
    def only_what_ended_was_charged(self) -> None:
        paid = self.store.look(lambda session: list(session.scalars(select(Usage.job_id))))
        assert set(paid) <= set(self.ended)


def test_jobs_end_exactly_once_in_any_order(empty_catalog: Path) -> None:  # noqa: F811
    Jobs.empty = empty_catalog
    bounds = settings(
        max_examples=20,
        stateful_step_count=30,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Jobs, settings=bounds)
