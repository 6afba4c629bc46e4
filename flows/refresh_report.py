"""The pages of a `refresh-data` run: funnel, contact sheet, quarantine, difference."""

from typing import TYPE_CHECKING, Any

from flows import artifacts

if TYPE_CHECKING:
    from PIL.Image import Image

    from infra.lake import Lake
    from infra.releases import ReleaseInfo

SHEET_CLIPS = 24
SHEET_COLUMNS = 6
LISTED = 20
LOSSES = ("duplicates", "quarantined", "withdrawn")


def publish(
    lake: "Lake",
    ingested: dict[str, Any],
    captioned: dict[str, Any],
    release: "ReleaseInfo",
    old: "ReleaseInfo | None",
    *,
    created: bool,
) -> None:
    """Publish all four pages; without a new release the funnel and the quarantine are enough."""
    artifacts.publish(
        "funnel", funnel(ingested, captioned), summary(ingested, release, created=created)
    )
    quarantined = quarantine_rows(lake)
    artifacts.publish_table("quarantine", quarantined, f"{len(quarantined)} files set aside")
    if not created:
        return
    from infra.releases import difference

    change = difference(lake, old, release)
    artifacts.publish("release-difference", difference_page(change, old, release), release.name)
    sheet = contact_sheet(lake, release)
    artifacts.publish("contact-sheet", artifacts.picture(sheet, "contact sheet"), release.name)


def summary(ingested: dict[str, Any], release: "ReleaseInfo", *, created: bool) -> str:
    """One sentence: what this run did."""
    if not created:
        return f"nothing new: release {release.name} already holds all of this footage"
    counts, quarantined = release.counts, ingested["funnel"]["quarantined"]
    aside = f", {quarantined} files in quarantine" if quarantined else ""
    return (
        f"release {release.name}: {counts['sources']:.0f} films → {counts['clips']:.0f} clips, "
        f"{counts['seconds']:.0f} s, {counts['captioned']:.0f} with captions{aside}"
    )


def funnel(ingested: dict[str, Any], captioned: dict[str, Any]) -> str:
    """From files to captioned clips, with what was lost at each step and why."""
    counts = ingested["funnel"]
    lost = [
        ("files", counts["files"], ""),
        (
            "films accepted",
            counts["accepted"],
            _losses(counts, "duplicates", "quarantined", "withdrawn"),
        ),
        ("shots", counts["shots"], ""),
        ("clips accepted", counts["clips"], _reasons(counts["rejected"])),
        ("captioned in this run", captioned["captioned"], _reasons(captioned["by_source"])),
    ]
    parts = ["# From files to clips", artifacts.table(["what", "how many", "why fewer"], lost)]
    parts.append(
        f"New in this run: {ingested['new_sources']} films, {ingested['new_clips']} clips, "
        f"{ingested['seconds']:.0f} s of footage."
    )
    return "\n\n".join(parts)


def _losses(counts: dict[str, Any], *names: str) -> str:
    return _reasons({name: counts[name] for name in names})


def _reasons(reasons: dict[str, int]) -> str:
    by_count = sorted(reasons.items(), key=lambda item: -item[1])
    return ", ".join(f"{count} {name}" for name, count in by_count if count)


def quarantine_rows(lake: "Lake") -> list[dict[str, Any]]:
    """One row a file that could not be used, newest first."""
    columns = ["uri", "stage", "reason", "error", "last_seen"]
    rows = sorted(
        lake.read("quarantine", columns).to_pylist(),
        key=lambda row: str(row["last_seen"]),
        reverse=True,
    )
    return [
        {
            "file": artifacts.readable(row["uri"]),
            "reason": row["reason"],
            "what the reader said": row["error"],
            "stage": row["stage"],
            "last seen": row["last_seen"],
        }
        for row in rows
    ]


def difference_page(change: dict[str, Any], old: "ReleaseInfo | None", new: "ReleaseInfo") -> str:
    """What `new` has that `old` had not, and the other way round."""
    rows = [
        (what, change[what]["added"], change[what]["removed"], new.counts[what])
        for what in ("sources", "clips", "seconds")
    ]
    since = f"since release {old.name}" if old else "the first release"
    parts = [
        f"# Release {new.name}: {since}",
        artifacts.table(["what", "added", "removed", "now"], rows),
    ]
    for title, uris in (("Added", change["sources_added"]), ("Removed", change["sources_removed"])):
        if uris:
            listed = [f"- `{artifacts.readable(uri)}`" for uri in uris[:LISTED]]
            more = [f"- and {len(uris) - LISTED} more"] if len(uris) > LISTED else []
            parts.append("\n".join([f"## {title}", "", *listed, *more]))
    return "\n\n".join(parts)


def contact_sheet(lake: "Lake", release: "ReleaseInfo") -> "Image":
    """The middle frame of clips spread evenly over the release, each with its caption."""
    from infra.pictures import contact_sheet as draw
    from infra.previews import COLUMNS, middle_frames

    clips = lake.read("clips", COLUMNS, release.view, release.name).sort_by("clip_id")
    stride = max(1, -(-clips.num_rows // SHEET_CLIPS))
    shown = clips.to_pylist()[::stride]
    captions = [clip["caption"] or "no caption" for clip in shown]
    frames = middle_frames(lake, shown, release.name)
    return draw(list(zip(frames, captions, strict=True)), columns=SHEET_COLUMNS)
