"""What is served: HOME/serve.json, which the deploy job, the gateway and every engine go by.

{"version", "bundle", "model", "app"}, and maybe "previous", what was served before it, and
"refused", the last version that was taken back, and why. An engine that is started reads it; those
that run follow it (`Watch`), so that all come to serve the same, however many there are.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.job_files import read_json, write_json

if TYPE_CHECKING:
    from serving.service import ModelInfo

log = logging.getLogger(__name__)

SERVED = "serve.json"
LOOK_S = 1.0


def read_served(home: Path, app: str) -> dict[str, Any] | None:
    """What the application `app` serves by now, if that is remembered."""
    served = read_json(home / SERVED)
    return served if served is not None and served.get("app") == app else None


def remember(home: Path, app: str, model: "ModelInfo", bundle: Path) -> None:
    """`app` serves `bundle` as `model` from now on; what it served before is what to go back to."""
    before = read_served(home, app) or {}
    previous = before.get("previous")
    if before and before["version"] != model.version:
        previous = {key: before[key] for key in ("version", "bundle", "model")}
    now = {"version": model.version, "bundle": str(bundle), "model": asdict(model), "app": app}
    write_json(home / SERVED, {**now, "previous": previous})


def take_back(home: Path, app: str, version: str, reason: str) -> bool:
    """What was served before `version` is served again; False when `version` is not served."""
    served = read_served(home, app)
    if served is None or served["version"] != version or not served.get("previous"):
        return False
    refused = {"version": version, "reason": reason}
    write_json(home / SERVED, {**served["previous"], "app": app, "refused": refused})
    return True


def refused(home: Path) -> dict[str, str] | None:
    """{"version", "reason"} of what was taken back last, unless another was deployed since."""
    served = read_json(home / SERVED) or {}
    found: dict[str, str] | None = served.get("refused")
    return found


class Watch(threading.Thread):
    """Calls `follow` with what serve.json says, when it names another version than before.

    Args:
        known: the version that it named when its reader looked last.
    """

    def __init__(
        self, home: Path, app: str, known: str, follow: Callable[[dict[str, Any]], None]
    ) -> None:
        super().__init__(name="served", daemon=True)
        self._home, self._app, self._known, self._follow = home, app, known, follow
        self._stopped = threading.Event()

    def stop(self) -> None:
        self._stopped.set()

    def run(self) -> None:
        while not self._stopped.wait(LOOK_S):
            try:
                self.look()
            except Exception:
                log.exception("could not follow what %s says", SERVED)

    def look(self) -> None:
        """Raises whatever `follow` raises; that version is not tried again."""
        served = read_served(self._home, self._app)
        if served is not None and served["version"] != self._known:
            self._known = served["version"]
            self._follow(served)
