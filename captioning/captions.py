"""The lake's table `captions`: what each captioner said of each clip, several side by side."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from captioning.captioner import Captioner, Clip, Told
from infra.lake import Lake, quote, quote_all

IDS_PER_DELETE = 500


class Captions:
    """The captions by these captioners in their present versions, read once and kept in step."""

    def __init__(self, lake: Lake, captioners: Iterable[Captioner]) -> None:
        self._lake = lake
        where = " or ".join(f"({_by(captioner)})" for captioner in captioners)
        self._told: dict[str, dict[str, Told]] = defaultdict(dict)
        columns = ["clip_id", "source", "caption", "score"]
        for row in lake.read("captions", columns, where).to_pylist():
            self._told[row["source"]][row["clip_id"]] = row["caption"], row["score"]

    def by(self, captioner: Captioner) -> Mapping[str, Told]:
        """What this captioner said, by clip id."""
        return self._told[captioner.source]

    def store(
        self, captioner: Captioner, clips: Sequence[Clip], told: Sequence[Told | None]
    ) -> None:
        """Write what changed, in one commit; where it has nothing to say, it said nothing."""
        known = self._told[captioner.source]
        now = datetime.now(UTC).isoformat()
        new, gone = [], []
        for clip, answer in zip(clips, told, strict=True):
            if answer is None:
                if known.pop(clip.clip_id, None):
                    gone.append(clip.clip_id)
            elif known.get(clip.clip_id) != answer:
                known[clip.clip_id] = answer
                new.append(
                    {
                        "clip_id": clip.clip_id,
                        "source": captioner.source,
                        "version": captioner.version,
                        "caption": answer[0],
                        "score": answer[1],
                        "made_at": now,
                    }
                )
        for start in range(0, len(gone), IDS_PER_DELETE):
            listed = quote_all(gone[start : start + IDS_PER_DELETE])
            self._lake.delete("captions", f"{_by(captioner)} and clip_id in ({listed})")
        self._lake.upsert("captions", new)

    def before(self, captioner: Captioner, clip_ids: Sequence[str]) -> tuple[str, dict[str, str]]:
        """The version of this source that spoke last before the present one of these clips, and
        its captions by clip id; ("", {}) when there is none."""
        where = (
            f"source = {quote(captioner.source)} and version != {quote(captioner.version)} "
            f"and clip_id in ({quote_all(clip_ids)})"
        )
        rows = self._lake.read("captions", ["clip_id", "version", "caption", "made_at"], where)
        last = max(((row["made_at"], row["version"]) for row in rows.to_pylist()), default=("", ""))
        version = last[1]
        return version, {
            row["clip_id"]: row["caption"] for row in rows.to_pylist() if row["version"] == version
        }


def _by(captioner: Captioner) -> str:
    return f"source = {quote(captioner.source)} and version = {quote(captioner.version)}"
