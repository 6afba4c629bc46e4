"""The kind `campaign`: adverts, their thumbnails, manifest.csv and a report of the checks."""

import csv
import hashlib
import html
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from infra.video import each_frame, write_mp4
from serving.delivery import write_picture
from serving.workflows.campaign.layout import DRAFT_WORDS, Check, Layout, checked
from serving.workflows.campaign.plan import (
    MIN_CONTRAST,
    CampaignPlan,
    Variant,
    campaign_shots,
    shot_id,
    variants,
)
from serving.workflows.deliverable import Findings, Take, Takes
from serving.workflows.lettering import csv_cell
from serving.workflows.overlay import Frames, Patch, blend
from serving.workflows.plan import Plan, Shot

THUMBNAIL_SIDE = 480
SAMPLES = 24
COLUMNS = (
    "id", "audience", "locale", "aspect", "seconds", "file", "thumbnail", "sha256", "headline",
    "prompt", "seed", "model_version", "job_id", "contrast", "safe_area", "passed",
)  # fmt: skip


@dataclass(frozen=True)
class Campaign:
    """See `serving.workflows.deliverable.Deliverable`."""

    kind: str = "campaign"

    @property
    def plan_model(self) -> type[Plan]:
        return CampaignPlan

    def shots(self, plan: CampaignPlan) -> Sequence[Shot]:
        return campaign_shots(plan)

    def needs_child(self, _plan: Plan) -> bool:
        return True

    def check(self, plan: CampaignPlan, takes: Takes) -> None:
        """Raises PlanError when some advert's words cannot be set."""
        for variant in variants(plan):
            if variant.audience is plan.audiences[0] and variant.seconds == plan.durations[0]:
                layout = Layout.of(plan, variant, takes)
                layout.marks()
                layout.end_card()

    def files(self, plan: CampaignPlan, takes: Takes, folder: Path) -> Findings:
        (folder / "adverts").mkdir()
        (folder / "thumbnails").mkdir()
        rows, checks = [], []
        for variant in variants(plan):
            take = takes.chosen(shot_id(plan, variant.audience, variant.aspect))
            found = _advert(plan, variant, takes, take, folder)
            checks.append((variant, found))
            rows.append(_row(variant, take, found, folder))
        _write_manifest(rows, folder / "manifest.csv")
        draft = plan.review and not takes.approved_by
        report = _report(plan, checks, draft=draft)
        (folder / "report.html").write_text(report, encoding="utf-8")
        failed = [variant.name for variant, found in checks if not found.passed]
        metrics = {
            "adverts": len(checks),
            "lowest_contrast": min(found.contrast for _, found in checks),
            "failed": failed,
        }
        notes = [f"{name} did not pass." for name in failed]
        if draft:
            notes.append("These are drafts, and say so; approving makes them without the mark.")
        return Findings(metrics=metrics, notes=notes)

    def counts(self, plan: CampaignPlan) -> Mapping[str, int]:
        return {"composites": sum(1 for _ in variants(plan))}


def _advert(plan: CampaignPlan, variant: Variant, takes: Takes, take: Take, folder: Path) -> Check:
    """Write one advert and its thumbnail; what was measured of its frames."""
    layout = Layout.of(plan, variant, takes)
    width, height = layout.size
    end_frames = round(plan.end_card_s * plan.fps)
    shown = round(variant.seconds * plan.fps) - end_frames

    def taken() -> Iterator[Frames]:
        return itertools.islice(each_frame(take.path, (height, width)), shown)

    samples = list(itertools.islice(taken(), 0, None, max(1, shown // SAMPLES)))
    patches, found = checked(layout, samples)
    end = layout.end_card()
    if plan.review and not takes.approved_by:
        mark = layout.draft_mark()
        patches, end = [*patches, mark], blend(end, [mark])
    target = folder / "adverts" / f"{variant.name}.mp4"
    write_mp4(_frames(taken(), patches, shown, end, end_frames), plan.fps, target)
    middle = next(itertools.islice(each_frame(target), shown // 2, None))
    picture = Image.fromarray(middle)
    picture.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.LANCZOS)
    write_picture(picture, folder / "thumbnails" / f"{variant.name}.jpeg", 85)
    return found


def _frames(
    taken: Iterator[Frames], patches: list[Patch], shown: int, end: Frames, end_frames: int
) -> Iterator[Frames]:
    frame, count = end, 0
    for bare in taken:
        frame, count = blend(bare, patches), count + 1
        yield frame
    yield from itertools.repeat(frame, shown - count)  # a take may be a frame short
    yield from itertools.repeat(end, end_frames)


def _row(variant: Variant, take: Take, found: Check, folder: Path) -> list[str]:
    name = f"adverts/{variant.name}.mp4"
    digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    return [
        variant.name, variant.audience.id, variant.locale.id, variant.aspect,
        f"{variant.seconds:g}", name, f"thumbnails/{variant.name}.jpeg", digest,
        variant.locale.headline, take.prompt, str(take.seed), take.model_version, take.job_id,
        f"{found.contrast:.2f}", "inside" if found.safe else "outside",
        "yes" if found.passed else "no",
    ]  # fmt: skip


def _write_manifest(rows: list[list[str]], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows([csv_cell(cell) for cell in row] for row in rows)


def _report(plan: CampaignPlan, checks: list[tuple[Variant, Check]], *, draft: bool) -> str:
    """The checks as a page for people; it loads the thumbnails beside it and nothing else."""
    rows = "\n".join(
        f'<tr><td><img src="thumbnails/{variant.name}.jpeg" alt=""></td>'
        f"<td>{html.escape(variant.name)}</td>"
        f'<td dir="auto">{html.escape(variant.locale.headline)}</td>'
        f"<td>{found.contrast:.2f}:1</td><td>{found.opacity / 255:.0%}</td>"
        f"<td>{'inside' if found.safe else 'outside'}</td>"
        f"<td>{'passed' if found.passed else 'FAILED'}</td></tr>"
        for variant, found in checks
    )
    mark = f'<p class="draft">{DRAFT_WORDS}</p>\n' if draft else ""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{html.escape(plan.title)}</title>\n"
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "img-src 'self' file:; style-src 'unsafe-inline'\">\n"
        "<style>body{font:1rem/1.5 sans-serif;margin:2rem;overflow-wrap:anywhere}"
        "table{border-collapse:collapse}td,th{padding:.4rem .8rem;text-align:start;"
        "border-bottom:1px solid #ccc}img{max-width:7.5rem;max-height:9rem}"
        ".draft{display:inline-block;background:#961818;color:#fff;padding:.3rem .6rem}"
        "</style></head>\n"
        f"<body><h1>{html.escape(plan.title)}</h1>\n{mark}"
        f"<p>Contrast is the lowest of the words with any pixel behind them, in {SAMPLES} "
        f"frames spread over the advert; {MIN_CONTRAST}:1 is needed (WCAG 2.2, 1.4.3). "
        "Panels are as opaque as that takes.</p>\n"
        "<table><tr><th></th><th>Advert</th><th>Headline</th><th>Contrast</th>"
        "<th>Panel</th><th>Safe area</th><th>Checks</th></tr>\n"
        f"{rows}\n</table></body></html>\n"
    )


CAMPAIGN = Campaign()
