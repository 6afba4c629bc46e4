"""Looking at clips: search, filters, export."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.common import open_lake, open_settings
from infra.errors import InputError

if TYPE_CHECKING:
    from infra.lake import Lake
    from infra.thresholds import Threshold

SHEET_COLUMNS = 6
CLIP_ID = re.compile("[0-9a-f]{8,}")


def search(
    text: Annotated[str, typer.Argument(help="words of the caption")] = "",
    like: Annotated[
        str, typer.Option(help="a video or picture file, or a clip's id", metavar="FILE|CLIP")
    ] = "",
    where: Annotated[str, typer.Option(help='a condition: "motion > 0.2"')] = "",
    limit: Annotated[int, typer.Option(min=1, help="how many clips")] = 24,
    out: Annotated[Path | None, typer.Option(help="contact sheet (PNG) to write")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="rows as JSON")] = False,
) -> None:
    """Find clips by what their captions say, by likeness, by their scores; draws a contact sheet.

    The score is BM25 for words, the cosine for likeness, and for both the sum of 1 / (60 + rank).
    """
    from infra.previews import middle_frames

    if not text and not where and not like:
        raise InputError(
            'nothing to search for; give words, --like FILE, or --where "motion > 0.2"'
        )
    lake = open_lake()
    rows = _search(lake, text, like, where, limit)
    if as_json:
        print(json.dumps([{**row, "score": row.pop("_score", None)} for row in rows], indent=1))
    else:
        for row in rows:
            score = f"{row['_score']:7.4f}  " if "_score" in row else ""
            print(f"{score}{row['clip_id']}  {_seconds(row)}  {row['caption'] or 'no caption'}")
    if not rows:
        raise InputError("no clip matches; use other words or a wider condition")
    out = out or open_settings().home / "search.png"
    frames = middle_frames(lake, rows, None)
    labels = [f"{row['caption'] or 'no caption'} · {row['clip_id'][:8]}" for row in rows]
    _draw(list(zip(frames, labels, strict=True)), out)
    if not as_json:
        print(f"{len(rows)} clips, drawn in {out}")


def _search(lake: "Lake", text: str, like: str, where: str, limit: int) -> list[dict[str, Any]]:
    """Rows of accepted clips with all that is shown of them, best first."""
    from infra import search as find
    from infra.lake import quote
    from infra.lake_schema import SCORES
    from infra.previews import COLUMNS
    from infra.releases import view

    columns = [*COLUMNS, "source_id", *SCORES, "text_found", "duplicate_of"]
    condition = view(where)
    if like:
        query, version, itself = _query(lake, like)
        condition += f" and clip_id != {quote(itself)}" if itself else ""
        if text:
            table = find.by_both(lake, text, query, version, columns, condition, limit)
        else:
            table = find.by_likeness(lake, query, version, columns, condition, limit)
    elif text:
        table = find.by_words(lake, text, columns, condition, limit)
    else:
        table = lake.read("clips", columns, condition).sort_by("clip_id").slice(0, limit)
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def _query(lake: "Lake", like: str) -> tuple[Any, str, str]:
    """The vector to compare with, the version that made it, and the clip's id if it is one."""
    from infra.search import embedding_of, embedding_version

    path = Path(like).expanduser()
    if not path.is_file() and CLIP_ID.fullmatch(like):
        return embedding_of(lake, like)
    if not path.is_file():
        raise InputError(f"{like!r} is neither a file nor a clip's id; give one of them")
    from captioning.embedding import open_embedder
    from captioning.query import embed_file
    from flows import caption_recipe

    settings, version = open_settings(), embedding_version(lake)
    embedder = open_embedder(settings.home, version, caption_recipe.load(settings).coca)
    return embed_file(path, embedder), version, ""


def filters(
    where: Annotated[str, typer.Argument(help='a filter: "motion > 0.1 and luma < 0.9"')] = "",
    out: Annotated[Path | None, typer.Option(help="picture (PNG) to write")] = None,
) -> None:
    """Show how scores spread, or what a filter would keep and what lies at its thresholds."""
    from infra.thresholds import QUANTILES, effect, spread

    lake = open_lake()
    if not where:
        found = spread(lake)
        print(f"{'':<18}" + "".join(f"{_quantile(q):>10}" for q in QUANTILES))
        for name, values in found.items():
            print(f"{name:<18}" + "".join(f"{value:>10.4g}" for value in values))
        return
    kept = effect(lake, where)
    share = kept.clips_kept / max(kept.clips, 1)
    print(
        f"{where}: keeps {kept.clips_kept} of {kept.clips} clips ({share:.0%}), "
        f"{kept.seconds_kept:.0f} of {kept.seconds:.0f} s"
    )
    for threshold in kept.thresholds:
        print(f"  {threshold!s:<28} alone keeps {threshold.clips_kept}")
    tiles = [tile for threshold in kept.thresholds for tile in _strip(lake, threshold)]
    if tiles:
        out = out or open_settings().home / "filters.png"
        _draw(tiles, out)
        print(f"clips just inside and just outside of each threshold: {out}")


def export(
    release: Annotated[str, typer.Argument(help="a release's name, or latest")],
    folder: Annotated[Path, typer.Argument(help="a new folder", metavar="DIR")],
    form: Annotated[str, typer.Option("--format", help="files or webdataset")] = "files",
) -> None:
    """Write a release's clips and captions as plain files or as WebDataset shards."""
    settings, lake = open_settings(), open_lake()
    from infra.catalog import Catalog
    from infra.export import export as write
    from infra.releases import get_release

    catalog = Catalog(settings.catalog_url)
    catalog.migrate()
    found = get_release(catalog, release)

    def progress(done: int, total: int) -> None:
        if done % 100 == 0 and done < total:
            print(f"{done} of {total} clips")

    count = write(lake, found, folder, form, progress)
    print(f"{count} clips of release {found.name} are in {folder}")


def _strip(lake: Any, threshold: "Threshold") -> list[tuple[Any, str]]:
    """A row of the clips that are lost, nearest last, then a row of those that are kept."""
    from infra.previews import middle_frames

    tiles = []
    rows = [(row, "out") for row in reversed(threshold.lost[:SHEET_COLUMNS])]
    rows += [(row, "in") for row in threshold.kept[:SHEET_COLUMNS]]
    frames = middle_frames(lake, [row for row, _ in rows], None)
    for frame, (row, side) in zip(frames, rows, strict=True):
        tiles.append((frame, f"{side}: {threshold.column} {row['value']:.4g}"))
    return tiles


def _draw(tiles: list[tuple[Any, str]], path: Path) -> None:
    from infra.pictures import contact_sheet

    path.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(tiles, columns=SHEET_COLUMNS).save(path)


def _seconds(row: dict[str, Any]) -> str:
    return f"{row['end_s'] - row['start_s']:4.1f} s"


def _quantile(share: float) -> str:
    return {0.0: "least", 0.5: "median", 1.0: "most"}.get(share, f"{share:.0%}")
