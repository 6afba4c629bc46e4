"""`reel doctor`: what is wrong with this machine, and how to mend it.

Each check returns a `Finding`; none of them imports a heavy library or starts anything.
"""

import os
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

import infra
from flows import processes, stack
from flows.services import services
from infra.settings import Settings

MIN_PYTHON = (3, 11)
MIN_DISK_GB = 10
MIN_MEMORY_GB = 8
ENCODERS = ("libx264", "libvpx-vp9")


@dataclass(frozen=True)
class Finding:
    """One checked thing; `mend` says what to do when it is not ok."""

    name: str
    ok: bool
    says: str
    mend: str = ""


def examine(settings: Settings) -> list[Finding]:
    """Every finding, good ones too."""
    return [
        python_version(sys.version_info[:2]),
        pins(Path(infra.__file__).parents[1] / "requirements.lock"),
        home(settings.home),
        disk(settings.home),
        memory(),
        ports(settings),
        encoders(),
        ray_auth(settings),
    ]


def python_version(found: tuple[int, ...]) -> Finding:
    """Python is new enough."""
    says = ".".join(map(str, found))
    wanted = ".".join(map(str, MIN_PYTHON))
    return Finding(
        "python", found >= MIN_PYTHON, says, f"make .venv again with Python {wanted} or newer"
    )


def pins(lock: Path) -> Finding:
    """What is installed is what requirements.lock says."""
    mend = "run: make setup"
    if not lock.exists():
        return Finding("versions", False, f"{lock} is missing", "get it back from the repository")
    wrong = []
    lines = [line.split(";")[0].split("#")[0].strip() for line in lock.read_text().splitlines()]
    for name, wanted in (line.split("==") for line in lines if "==" in line):
        found = _installed(name)
        if found != wanted:
            wrong.append(f"{name} {found or 'missing'} (locked: {wanted})")
    says = f"{len(lines)} packages as locked"
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        says = ", ".join(wrong[:3]) + more
    return Finding("versions", not wrong, says, mend)


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def home(path: Path) -> Finding:
    """The home folder, or the nearest one above it that exists, can be written."""
    existing = _existing(path)
    ok = os.access(existing, os.W_OK)
    return Finding("home", ok, str(path), f"make {existing} writable, or set REEL_HOME elsewhere")


def _existing(path: Path) -> Path:
    return next(folder for folder in [path, *path.parents] if folder.exists())


def disk(path: Path) -> Finding:
    """There is room for footage, checkpoints and media."""
    free_gb = shutil.disk_usage(_existing(path)).free / 1e9
    says = f"{free_gb:.0f} GB free"
    mend = f"free {MIN_DISK_GB} GB there, or set REEL_HOME to a larger disk"
    return Finding("disk", free_gb >= MIN_DISK_GB, says, mend)


def memory() -> Finding:
    """There is memory for the services and one training job."""
    available_gb = psutil.virtual_memory().available / 1e9
    mend = f"close programs: {MIN_MEMORY_GB} GB are needed"
    says = f"{available_gb:.0f} GB available"
    return Finding("memory", available_gb >= MIN_MEMORY_GB, says, mend)


def ports(settings: Settings) -> Finding:
    """Our ports are free, or ours already."""
    ours = {row.name for row in stack.status(settings) if row.state != "stopped"}
    wanted = {
        variable: port
        for service in services(settings)
        if service.name not in ours
        for variable, port in service.ports.items()
    }
    if "ray" not in ours:
        wanted["REEL_SERVE_PORT"] = settings.serve_port
    taken = {
        variable: port
        for variable, port in wanted.items()
        if not processes.port_is_free(settings.host, port)
    }
    if not taken:
        return Finding("ports", True, "free" if wanted else "in use by our own services")
    says = ", ".join(f"{port} ({processes.port_holder(port)})" for port in taken.values())
    return Finding("ports", False, says, f"stop that program, or set {', '.join(taken)}")


def encoders() -> Finding:
    """PyAV can write what browsers play and read what cameras and streams deliver."""
    try:
        import av
    except ImportError as error:
        return Finding("video", False, f"PyAV does not load: {error}", "run: make setup")
    missing = [name for name in ENCODERS if name not in av.codecs_available]
    says = f"no encoder {', '.join(missing)}" if missing else " and ".join(ENCODERS)
    return Finding("video", not missing, says, "run: make setup (its PyAV has them)")


def ray_auth(settings: Settings) -> Finding:
    """Every process names its mode; a forgotten token would switch authentication on unseen."""
    mode, token = settings.ray_auth_mode, Path.home() / ".ray" / "auth_token"
    if mode not in ("disabled", "token"):
        mend = "set REEL_RAY_AUTH_MODE to disabled (loopback) or token"
        return Finding("ray auth", False, repr(mode), mend)
    if mode == "disabled" and settings.host not in ("127.0.0.1", "localhost", "::1"):
        mend = "set REEL_RAY_AUTH_MODE=token, or REEL_HOST=127.0.0.1"
        return Finding("ray auth", False, f"disabled, but listening on {settings.host}", mend)
    if mode == "token" and not token.exists():
        mend = f"put a token into {token}"
        return Finding("ray auth", False, "token, but there is no token", mend)
    return Finding("ray auth", True, mode)
