"""A SCORM 1.2 package: the lesson as a page that a learning platform plays and scores.

The manifest is that of IMS Content Packaging 1.1.2 with ADL's additions; the page finds the
platform's API as the SCORM 1.2 Run-Time Environment describes and works without one.
"""

import hashlib
import html
import json
import shutil
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from string import Template
from xml.etree import ElementTree as ET

from serving.workflows.assembly import ZIP_DATE
from serving.workflows.lesson.plan import LessonPlan
from serving.workflows.lesson.texts import clock, questions, transcript_html
from serving.workflows.lesson.timing import FilmPart, chapters
from serving.workflows.typesetting import runs_right_to_left

PLAYER = Path(__file__).parent / "player"
IMSCP = "http://www.imsproject.org/xsd/imscp_rootv1p1p2"
ADLCP = "http://www.adlnet.org/xsd/adlcp_rootv1p2"
PAGE = "index.html"


def write_scorm(
    plan: LessonPlan, parts: Sequence[FilmPart], files: dict[str, Path], target: Path
) -> None:
    """`files`: lesson.mp4, captions.vtt, chapters.vtt and poster.jpeg, by their names inside."""
    texts = {
        PAGE: page(plan, parts),
        "player.js": (PLAYER / "player.js").read_text(encoding="utf-8"),
        "player.css": (PLAYER / "player.css").read_text(encoding="utf-8"),
    }
    texts["imsmanifest.xml"] = manifest(plan, [*texts, *files])
    with zipfile.ZipFile(target, "w") as archive:
        for name, text in texts.items():
            archive.writestr(_entry(name, zipfile.ZIP_DEFLATED), text)
        for name, path in files.items():
            with path.open("rb") as source, archive.open(_entry(name), "w") as entry:
                shutil.copyfileobj(source, entry)


def _entry(name: str, compression: int = zipfile.ZIP_STORED) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, ZIP_DATE)
    info.compress_type = compression
    info.external_attr = 0o644 << 16
    return info


def manifest(plan: LessonPlan, names: Iterable[str]) -> str:
    """imsmanifest.xml: one organisation, one item, one SCO of all files."""
    digest = hashlib.sha256(plan.model_dump_json().encode()).hexdigest()[:16]
    root = ET.Element(f"{{{IMSCP}}}manifest", identifier=f"lesson-{digest}", version="1.2")
    about = _child(root, "metadata")
    _child(about, "schema").text = "ADL SCORM"
    _child(about, "schemaversion").text = "1.2"
    organization = _child(
        _child(root, "organizations", default="organization"),
        "organization",
        identifier="organization",
    )
    _child(organization, "title").text = plan.title
    item = _child(organization, "item", identifier="item", identifierref="resource")
    _child(item, "title").text = plan.title
    if any(segment.quiz for segment in plan.segments):
        ET.SubElement(item, f"{{{ADLCP}}}masteryscore").text = str(plan.pass_mark)
    resource = _child(
        _child(root, "resources"),
        "resource",
        identifier="resource",
        type="webcontent",
        href=PAGE,
        **{f"{{{ADLCP}}}scormtype": "sco"},
    )
    for name in names:
        _child(resource, "file", href=name)
    ET.register_namespace("", IMSCP)
    ET.register_namespace("adlcp", ADLCP)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode")


def _child(parent: ET.Element, name: str, **attributes: str) -> ET.Element:
    return ET.SubElement(parent, f"{{{IMSCP}}}{name}", attributes)


def page(plan: LessonPlan, parts: Sequence[FilmPart]) -> str:
    """The player's page: everything that the plan says is escaped for where it stands."""
    labels = plan.labels
    data = {
        "questions": questions(plan, parts),
        "passMark": plan.pass_mark,
        "labels": labels.model_dump(),
    }
    steps = "\n".join(
        f'<li><button type="button" data-at="{cue.start_s:.3f}">'
        f"<span>{clock(cue.start_s)}</span> {html.escape(segment.title)}</button></li>"
        for segment, cue in chapters(plan, parts)
    )
    return Template((PLAYER / "index.html").read_text(encoding="utf-8")).substitute(
        lang=plan.language,
        dir="rtl" if runs_right_to_left(plan.title) else "ltr",
        title=html.escape(plan.title),
        objective=html.escape(plan.objective),
        generated=html.escape(labels.generated),
        chapters_label=html.escape(labels.chapters),
        transcript_label=html.escape(labels.transcript),
        chapters=steps,
        transcript=transcript_html(plan, parts, heading=False),
        # In a script element only "<" could end the data early.
        data=json.dumps(data, ensure_ascii=False).replace("<", "\\u003c"),
    )
