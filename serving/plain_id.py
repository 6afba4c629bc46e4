"""The plain id of a delivered file: the job's name where every tool shows it.

A comment in an MP4; XMP in pictures, with IPTC's word for what a model made, and a comment in a
PNG. Anybody can write such an id or remove it: it finds the job when the signature is gone, and
proves nothing.
"""

import re
from pathlib import Path
from typing import Any

import av
from PIL import Image, PngImagePlugin

TERM = "http://cv.iptc.org/newscodes/digitalsourcetype/"
TERMS = {
    "generated": f"{TERM}trainedAlgorithmicMedia",
    "composite": f"{TERM}compositeWithTrainedAlgorithmicMedia",
}
JOB = re.compile(r"reelwright:((?:video|image|workflow|wf)_[A-Za-z0-9_-]{1,80})")
XMP = """<x:xmpmeta xmlns:x="adobe:ns:meta/">\
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" \
xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" \
dc:identifier="{id}" Iptc4xmpExt:DigitalSourceType="{term}"/></rdf:RDF></x:xmpmeta>"""


def plain_id(job_id: str) -> str:
    return f"reelwright:{job_id}"


def picture_options(job_id: str, form: str) -> dict[str, Any]:
    """What Pillow's `save` takes, by format, to write the id into the picture."""
    xmp = XMP.format(id=plain_id(job_id), term=TERMS["generated"])
    if form != "PNG":
        return {"xmp": xmp.encode()}
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", plain_id(job_id))
    info.add_itxt("XML:com.adobe.xmp", xmp)
    return {"pnginfo": info}


def read_plain_id(path: Path) -> str | None:
    """The job that a file's metadata names, or None; no pixel is decoded."""
    text = _video_comment(path) if _is_mp4(path) else _picture_text(path)
    found = JOB.search(text)
    return found[1] if found else None


def _is_mp4(path: Path) -> bool:
    with path.open("rb") as handle:
        return handle.read(12)[4:8] == b"ftyp"


def _video_comment(path: Path) -> str:
    options = {"format_whitelist": "mov,mp4", "protocol_whitelist": "none"}
    try:
        with path.open("rb") as handle, av.open(handle, "r", options=options) as container:
            return str(container.metadata.get("comment", ""))
    except (av.FFmpegError, OSError):
        return ""


def _picture_text(path: Path) -> str:
    try:
        with Image.open(path, formats=("PNG", "JPEG", "WEBP")) as picture:
            info = picture.info
            known = ("xmp", "XML:com.adobe.xmp", "Comment", "comment")
            values = [info[name] for name in known if name in info]
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return ""
    return " ".join(
        value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
        for value in values
    )
