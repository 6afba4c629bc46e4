"""What the lake and the catalog hold: releases, quarantine."""

from flows.commands.common import open_lake, open_settings


def releases() -> None:
    """List the releases, oldest first."""
    settings = open_settings()
    from infra.catalog import Catalog
    from infra.releases import list_releases
    from infra.takedowns import list_takedowns

    catalog = Catalog(settings.catalog_url)
    catalog.migrate()
    takedowns = list_takedowns(catalog)
    for release in list_releases(catalog):
        counts = release.counts
        held = sum(release.name in takedown.releases for takedown in takedowns)
        print(
            f"{release.name:<20} {release.created_at:%Y-%m-%d %H:%M}  {counts['sources']:.0f} films"
            f"  {counts['clips']:.0f} clips  {counts['seconds']:.0f} s"
            f"  {counts['captioned']:.0f} captioned"
            f"{f'  {held} withdrawn since' if held else ''}"
        )


def quarantine() -> None:
    """List the files that could not be used, and why."""
    from flows.refresh_report import quarantine_rows

    for row in quarantine_rows(open_lake()):
        said = row["what the reader said"]
        print(f"{row['file']}\n    {row['reason']}{f' ({said})' if said else ''}")
