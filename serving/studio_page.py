"""The studio: a page, its styles and its modules, served as they lie in `serving/studio/`."""

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import Response

from serving.wire import not_found

FOLDER = Path(__file__).with_name("studio")
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# The page runs this server's own files and speaks to this server, nothing else. Uploads and, where
# a key is needed, results are shown from memory (blob:).
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "media-src 'self' blob:; img-src 'self' blob: data:; form-action 'none'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-cache",
}


def studio_routes() -> APIRouter:
    """`/` and `/studio/{name}`. All files are read at the start: a request names no path."""
    router = APIRouter(include_in_schema=False)
    files = {path.name: path.read_bytes() for path in FOLDER.iterdir() if path.suffix in TYPES}

    @router.get("/")
    def page() -> Response:
        return Response(files["index.html"], media_type=TYPES[".html"], headers=HEADERS)

    @router.get("/studio/{name}")
    def part(name: str) -> Response:
        if name not in files or name == "index.html":
            raise not_found(f"The studio has no file {name[:80]!r}.")
        return Response(files[name], media_type=TYPES[Path(name).suffix], headers=HEADERS)

    return router
