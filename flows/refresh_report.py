"""The pages of a `refresh-data` run: funnel, captions, quarantine, difference, contact sheets."""

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from flows import artifacts, clip_pages, difference_page
from flows.difference_page import word_difference

if TYPE_CHECKING:
    from infra.lake import Lake
    from infra.releases import ReleaseInfo

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
    """Publish all pages; without a new release only those that tell of this run and of files."""
    artifacts.publish(
        "funnel", funnel(ingested, captioned), summary(ingested, release, created=created)
    )
    quarantined = quarantine_rows(lake)
    why = _reasons(Counter(row["reason"] for row in quarantined))
    aside = f"{len(quarantined)} files set aside" + (f": {why}" if why else "")
    artifacts.publish_table("quarantine", quarantined, aside)
    if created or captioned.get("endpoint"):
        artifacts.publish("captions", captions_page(captioned, release), release.name)
    if not created:
        return
    from infra.releases import difference

    change, words = difference(lake, old, release), word_difference(lake, old, release)
    artifacts.publish(
        "release-difference", difference_page.page(change, words, old, release), release.name
    )
    artifacts.publish("contact-sheet", clip_pages.page(lake, release), release.name)


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
    if copies := captioned.get("near_duplicates"):
        parts.append(
            f"{copies} clips show what a better clip of another film shows; "
            'a release without them: `--where "duplicate_of is null"`.'
        )
    return "\n\n".join(parts)


def _losses(counts: dict[str, Any], *names: str) -> str:
    return _reasons({name: counts[name] for name in names})


def _reasons(reasons: dict[str, int]) -> str:
    by_count = sorted(reasons.items(), key=lambda item: -item[1])
    return ", ".join(f"{count} {name}" for name, count in by_count if count)


def captions_page(captioned: dict[str, Any], release: "ReleaseInfo") -> str:
    """Who captioned the release's clips, what became of questions to a model on a server, and how
    the words changed where a captioner speaks in a new version."""
    used = [
        (source, version or "-", clips)
        for source, versions in release.captions.items()
        for version, clips in versions.items()
    ]
    parts = [f"# Captions of release {release.name}"]
    parts.append(artifacts.table(["who", "version", "clips"], used) if used else "There are none.")
    if asked := captioned.get("endpoint"):
        parts += ["## The model that was asked", _asked(asked)]
    for change in captioned.get("drift", []):
        parts += [f"## {change['source']} speaks in a new version", _drift(change)]
    return "\n\n".join(parts)


def _asked(asked: dict[str, Any]) -> str:
    lines = [
        f"{plain(asked['version'])} was asked about {asked['asked']} clips and described "
        f"{asked['answered']} ({asked['tokens']} tokens)."
    ]
    if asked["failed"]:
        lines.append(f"No caption from it: {plain(_reasons(asked['failed']))}.")
    if asked["left"]:
        lines.append(f"Not asked about: {asked['left']} clips.")
    if asked["stopped"]:
        lines.append(f"It was asked no more: {plain(asked['stopped'])}.")
    if asked["failed"] or asked["left"]:
        lines.append("These clips have another caption for now; the next refresh asks again.")
    return " ".join(lines)


def _drift(change: dict[str, Any]) -> str:
    share = change["changed"] / max(1, change["clips"])
    said = (
        f"Of {change['clips']} watched clips {change['changed']} ({share:.0%}) have other words "
        f"than by version {plain(change['previous'])}; now it is {plain(change['version'])}. "
        f"Words in common: F1 {change['word_f1']:.2f} on the mean."
    )
    rows = [
        (entry["clip_id"][:8], plain(entry["before"]), plain(entry["after"]))
        for entry in change["examples"]
    ]
    return f"{said}\n\n{artifacts.table(['clip', 'before', 'now'], rows)}" if rows else said


def plain(text: str) -> str:
    """Text from outside, so that Markdown shows it and does nothing else with it."""
    return re.sub(r"([\\`*_{}\[\]<>()#!&])", r"\\\1", text)


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
