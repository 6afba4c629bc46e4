"""Finished work: storyboard, game, lesson, campaign. Each sends a plan to the running server,
follows it, and unpacks the bundle."""

import base64
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.bundles import inside, unpack
from flows.commands.common import open_settings
from infra.errors import InfrastructureError, InputError, JobError

if TYPE_CHECKING:
    import httpx

POLL_S = 0.5
PATIENCE_S = 30.0
MAX_LISTED = 24
PICTURES = {
    ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"
}  # fmt: skip
FONTS = {".ttf": "font/ttf", ".otf": "font/otf", ".ttc": "font/collection"}
MAX_FILE_BYTES = 9 * 2**20

Say = Callable[[str], None]


def work(kind: str, says: str) -> Callable[..., None]:
    """The command of one kind of workflow."""

    def command(
        plan: Annotated[Path, typer.Argument(help="the plan, YAML or JSON")],
        out: Annotated[Path | None, typer.Option(help="folder for the files")] = None,
        retake: Annotated[str, typer.Option(metavar="SHOT", help="make one shot again")] = "",
        cascade: Annotated[
            bool, typer.Option("--cascade", help="and the shots that continue from it")
        ] = False,
        choose: Annotated[
            str, typer.Option(metavar="SHOT=TAKE", help="show another take of a shot")
        ] = "",
        approve: Annotated[str, typer.Option(metavar="REVIEWER", help="release after review")] = "",
        estimate: Annotated[bool, typer.Option("--estimate", help="only say the cost")] = False,
    ) -> None:
        values = read_plan_file(plan)
        settings = open_settings()
        with _client(settings.serve_url, settings.api_key.get_secret_value()) as client:
            server = Server(client, kind)
            if estimate:
                print(json.dumps(server.post(f"{kind}/estimate", values), indent=1))
                return
            found = server.begin(values)
            if retake:
                found = server.post(f"{found['id']}/shots/{retake}/retake", {"cascade": cascade})
            if choose:
                shot, _, take = choose.partition("=")
                if not take.isdecimal():
                    raise InputError(f"--choose {choose!r} is not SHOT=TAKE, such as s010=2")
                found = server.post(f"{found['id']}/shots/{shot}/choose", {"take": int(take)})
            if approve:
                found = server.post(f"{found['id']}/approve", {"reviewer": approve})
            found = server.follow(found, print)
            _deliver(server, found, out or plan.with_name(f"{plan.stem}-{kind}"))

    command.__name__ = kind
    command.__doc__ = says
    return command


def read_plan_file(path: Path) -> dict[str, Any]:
    """The plan in a YAML or JSON file, the paths of pictures and fonts replaced by data: URLs.

    A Fountain script that `script` names as a file is read as well; paths are relative to the plan.

    Raises:
        InputError: no such file, no such object, or a picture that cannot be read.
    """
    import yaml

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))  # JSON is YAML
    except OSError as error:
        raise InputError(f"cannot read the plan {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = " ".join(str(error).split())
        raise InputError(f"{path} is neither YAML nor JSON: {where[:300]}") from None
    if not isinstance(values, dict):
        raise InputError(f"{path} holds a {type(values).__name__}; a plan has fields, like title:")
    for field, forms in (("assets", PICTURES), ("fonts", FONTS)):
        named = values.get(field)
        if isinstance(named, dict):
            values[field] = {key: _data_url(path, value, forms) for key, value in named.items()}
    script = values.get("script")
    if isinstance(script, str) and "\n" not in script and script.endswith(".fountain"):
        values["script"] = _read(path.parent / script).decode("utf-8", "replace")
    json_values: dict[str, Any] = json.loads(json.dumps(values, default=str))
    return json_values


def _data_url(plan: Path, value: Any, forms: Mapping[str, str]) -> Any:
    if not isinstance(value, str) or value.startswith("data:"):
        return value
    form = forms.get(Path(value).suffix.lower())
    if form is None:
        raise InputError(f"{value!r} in {plan} is no {', '.join(forms)} file")
    data = _read(plan.parent / value)
    if len(data) > MAX_FILE_BYTES:
        raise InputError(f"the file {value!r} has {len(data) / 2**20:.0f} MiB; at most 9 are taken")
    return f"data:{form};base64,{base64.b64encode(data).decode()}"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None


def _client(url: str, key: str) -> "httpx.Client":
    import httpx

    headers = {"authorization": f"Bearer {key}"} if key else {}
    return httpx.Client(base_url=f"{url}/v1/workflows/", headers=headers, timeout=60)


class Server:
    """The server's workflows of one kind."""

    def __init__(self, client: "httpx.Client", kind: str) -> None:
        self._client, self._kind = client, kind

    def begin(self, values: dict[str, Any]) -> dict[str, Any]:
        """The workflow of a plan: a new one, or the one that the same plan began before."""
        content = json.dumps(values, sort_keys=True).encode()
        return self.post(
            self._kind, values, {"idempotency-key": hashlib.sha256(content).hexdigest()}
        )

    def post(
        self, path: str, body: dict[str, Any], headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        return self._json("POST", path, json=body, headers=headers)

    def get(self, path: str) -> dict[str, Any]:
        return self._json("GET", path)

    def follow(self, found: dict[str, Any], say: Say) -> dict[str, Any]:
        """Wait until there is nothing left to do, saying what ends; a server that is away for a
        short while is waited for.

        Raises:
            JobError: the workflow failed.
        """
        said: set[str] = set()
        away_since = None
        while True:
            for line in _news(found):
                if line not in said:
                    said.add(line)
                    say(line)
            if found["status"] == "failed":
                raise JobError(found["error"]["message"])
            if found["status"] in ("completed", "awaiting_review"):
                return found
            time.sleep(POLL_S)
            try:
                found = self.get(found["id"])
                away_since = None
            except InfrastructureError:
                away_since = away_since or time.monotonic()
                if time.monotonic() - away_since > PATIENCE_S:
                    raise

    def download(self, path: str, target: Path) -> None:
        import httpx

        try:
            with self._client.stream("GET", path) as reply:
                if reply.status_code != 200:
                    reply.read()
                    raise InputError(_reason(reply))
                with target.open("wb") as file:
                    for chunk in reply.iter_bytes():
                        file.write(chunk)
        except httpx.TransportError as error:
            raise InfrastructureError(f"the download broke off: {error}; run this again") from None

    def _json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        import httpx

        try:
            reply = self._client.request(method, path, **options)
        except httpx.TransportError as error:
            raise InfrastructureError(
                f"no server answers at {self._client.base_url}: {error}; start it with: reel up"
            ) from None
        if reply.status_code >= 500:
            raise InfrastructureError(_reason(reply))
        if reply.status_code >= 400:
            raise InputError(_reason(reply))
        found: dict[str, Any] = reply.json()
        return found


def _reason(reply: "httpx.Response") -> str:
    try:
        return str(reply.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"the server answered {reply.status_code}"


def _news(found: dict[str, Any]) -> list[str]:
    lines = []
    for shot in found["shots"]:
        for take in shot["takes"]:
            name = f"{shot['id']} take {take['take']}"
            if take["status"] == "completed":
                lines.append(f"{name}  done, seed {take['seed']}")
            elif take["status"] == "failed":
                lines.append(f"{name}  failed: {take['error']}")
        if shot["continuity_is_stale"]:
            lines.append(f"{shot['id']}  begins with a frame of a take that is shown no more")
    if found["waiting_for"]:
        lines.append(f"waiting: {found['waiting_for']}")
    return lines


def _deliver(server: Server, found: dict[str, Any], out: Path) -> None:
    """Put the files into `out`; those of a draft, which is no bundle yet, into `out`/draft."""
    if found["status"] == "awaiting_review":
        for file in found["files"]:
            target = inside(out / "draft", file["name"])
            target.parent.mkdir(parents=True, exist_ok=True)
            server.download(f"{found['id']}/files/{file['name']}", target)
        print(f"{found['id']} awaits review; its {len(found['files'])} files are in {out}/draft.")
        print("Look at them, then run this again with --approve NAME")
        return
    out.mkdir(parents=True, exist_ok=True)
    archive = out / ".bundle.zip"
    try:
        server.download(f"{found['id']}/bundle", archive)
        unpack(archive, out)
    finally:
        archive.unlink(missing_ok=True)
    for note in found["notes"]:
        print(f"note: {note}")
    for file in found["files"][:MAX_LISTED]:
        print(f"{out / file['name']}  {file['bytes']} bytes")
    if len(found["files"]) > MAX_LISTED:
        print(f"and {len(found['files']) - MAX_LISTED} more in {out}")


storyboard = work("storyboard", "A script or shot list to an animatic, sheets and timelines.")
game = work("game", "Loops, flipbooks, plates, skyboxes and cutscenes for a game engine.")
lesson = work("lesson", "Narrated segments to a film with captions, a quiz and SCORM.")
campaign = work("campaign", "Adverts by audience, locale, aspect and duration, checked.")
WORKS = (storyboard, game, lesson, campaign)
