"""The error tree.

    ReelError
    ├── InputError            the caller gave something unusable; never retried
    │   └── NotFoundError     the named thing does not exist
    ├── GateError             a model did not meet its thresholds
    ├── JobError              a job ended without a result
    │   └── JobCancelledError it was asked to stop
    └── InfrastructureError   the world failed (process lost, port gone); retryable

A message says what was wrong, the value that was seen, and what to do about it.
"""


class ReelError(Exception):
    """Base of every error that Reelwright raises on purpose."""

    retryable = False
    """True when the same call may succeed later without anyone changing anything."""


class InputError(ReelError):
    """Input from outside cannot be used; the message names the value and the fix."""


class NotFoundError(InputError):
    """A named file, release, model or job does not exist."""


class GateError(ReelError):
    """A candidate model failed the promotion gate; the message names each failed number."""


class JobError(ReelError):
    """A job ended without a result; the message carries its last words."""


class JobCancelledError(JobError):
    """A job stopped because it was asked to."""


class InfrastructureError(ReelError):
    """A service or process was lost; the work may be resumed from its last checkpoint."""

    retryable = True
