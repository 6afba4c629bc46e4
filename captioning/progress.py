"""Progress of the caption job: captioners speak one after the other, some train first."""

from infra.job_files import JobContext

TRAINING_SHARE = 0.8  # of a captioner's progress, when it trains


class Progress:
    """Reports the share of the job that is done. Every report raises JobCancelledError when the
    job was asked to stop."""

    def __init__(self, context: JobContext) -> None:
        self._context = context
        self._before, self._width = 0.0, 1.0  # of the captioner that speaks now
        self._trained = False
        self._source, self._done, self._total = "", 0, 1

    def begin(self, source: str, total: int, share: tuple[float, float]) -> None:
        """A captioner begins with `total` clips; it takes the job from share[0] to share[1]."""
        self._before, self._width = share[0], share[1] - share[0]
        self._trained = False
        self._source, self._done, self._total = source, 0, max(1, total)
        self.clips(0)

    def training(self, share: float, **metrics: float) -> None:
        """It trains, and has come so far."""
        self._trained = True
        self._report(TRAINING_SHARE * share, f"training {self._source}", **metrics)

    def clips(self, more: int) -> None:
        """It has dealt with so many clips more."""
        self._done += more
        first = TRAINING_SHARE if self._trained else 0.0
        done = first + (1 - first) * self._done / self._total
        self._report(done, f"{self._source}: {self._done} of {self._total} clips")

    def _report(self, share: float, message: str, **metrics: float) -> None:
        self._context.raise_if_stopping()
        self._context.progress(self._before + self._width * share, 1.0, message, **metrics)
