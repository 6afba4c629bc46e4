"""What comes of an attempt at a job: its end in SQL, and which of its files stay."""

import logging

from infra.catalog_models import utc_now
from infra.errors import InputError, NotFoundError
from serving.attempts import Attempt
from serving.delivery import Seal, unsealed
from serving.happenings import ENDS
from serving.jobs import Claim, JobStore
from serving.redaction import trace
from serving.trial import is_out_of_memory

log = logging.getLogger(__name__)


def finish(store: JobStore, attempt: Attempt, seal: Seal = unsealed) -> str:
    """Record the end of an attempt whose delivery has ended; what it was, in a word.

    `seal` signs the files before the record says that they are there.
    """
    error = attempt.error or attempt.delivery.error
    if attempt.lost:
        return _leave(store, attempt)
    if attempt.released and attempt.error is None:
        attempt.discard()
        return "released" if store.release(attempt.claim) else _leave(store, attempt)
    if error is None:
        error = _sealed(attempt, seal)
    if error is not None:
        attempt.discard()
        if not fail(store, attempt.claim, error):
            return _leave(store, attempt)
        attempt.discard_state()
        return "failed"
    if not store.complete(attempt.claim, attempt.delivery.artifacts, _timings(attempt)):
        return _leave(store, attempt)
    attempt.discard_earlier()
    return "done"


def _sealed(attempt: Attempt, seal: Seal) -> Exception | None:
    """What cannot be signed is not delivered."""
    try:
        seal(attempt.job, attempt.delivery.artifacts)
    except Exception as error:
        return error
    return None


def _leave(store: JobStore, attempt: Attempt) -> str:
    """The job is not ours: leave what its new worker may go on from, unless there is none."""
    attempt.discard()
    try:
        is_over = store.get(attempt.job.id).status in ENDS
    except NotFoundError:
        is_over = True
    if is_over:
        attempt.discard_state()
    return "lost"


def fail(store: JobStore, claim: Claim, error: Exception) -> bool:
    """End a job as failed, unless the store excuses it.

    False when it is gone or another's, which may be why it failed.
    """
    job = claim.job
    if isinstance(error, InputError):
        return store.fail(claim, "invalid_request", str(error))
    if not store.renew(claim):
        return False
    words = (job.prompt, str(job.params.get("negative_prompt", "")))
    log.error("%s failed\n%s", job.id, trace(error, *words))
    if store.excuse(claim, error):
        return True
    code, sentence = (
        "generation_failed",
        (
            "The generation failed inside the server; its log has the reason "
            f"under {job.id}. The same request may be sent again."
        ),
    )
    if is_out_of_memory(error):
        code, sentence = (
            "out_of_memory",
            (
                f"There is not enough memory for {job.size} and {job.seconds:g} s; "
                "ask for a smaller size or fewer seconds."
            ),
        )
    return store.fail(claim, code, sentence)


def _timings(attempt: Attempt) -> dict[str, float]:
    """Seconds of a job's life; `overhead_s` is all the rest.

    `sample_s` is its share of the steps that it made together with others; `preview_s` is what
    its previews took of the device; `encode_tail_s` is the part of `encode_s` after the last step.
    """
    job = attempt.job
    assert job.started_at is not None
    total_s = (utc_now() - job.created_at).total_seconds()
    sample_s, encode_s = attempt.sample_s, attempt.delivery.encode_s
    tail_s, preview_s = attempt.delivery.tail_s, attempt.preview_s
    return {
        "queued_s": round((job.started_at - job.created_at).total_seconds(), 4),
        "sample_s": round(sample_s, 4),
        "encode_s": round(encode_s, 4),
        "encode_tail_s": round(tail_s, 4),
        "preview_s": round(preview_s, 4),
        "overhead_s": round(max(total_s - sample_s - tail_s - preview_s, 0.0), 4),
        "total_s": round(total_s, 4),
    }
