"""A headless Chromium that tests drive over its DevTools protocol."""

import base64
import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

WITHIN_S = 60.0
# The sandbox needs user namespaces, which containers rarely give; the pages are our own.
OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-extensions", "--mute-audio", "--hide-scrollbars", "--remote-debugging-port=0",
    "--autoplay-policy=no-user-gesture-required", "--force-color-profile=srgb",
)  # fmt: skip


class Page:
    """One tab. Errors of scripts, refused resources and requests are kept as they come."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket, self._number = socket, 0
        self.errors: list[str] = []
        self.requests: list[str] = []
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv(WITHIN_S))
            if message.get("id") == self._number:
                assert "error" not in message, message["error"]
                result: dict[str, Any] = message["result"]
                return result
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        params = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.errors.append(str(details.get("exception", details).get("description", details)))
        elif message.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif message.get("method") == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])

    def open(self, url: str, width: int = 1280, height: int = 800, *, phone: bool = False) -> None:
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=phone,
        )  # fmt: skip
        self.send("Page.navigate", url=url)

    def run(self, script: str) -> Any:
        """The value of an expression; a promise is awaited."""
        answer = self.send(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True,
            userGesture=True,
        )  # fmt: skip
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, condition: str) -> Any:
        """The value of an expression once it is true; of a node, just that it is there."""
        shown = "found instanceof Node ? true : found"
        asked = f"(() => {{ try {{ const found = {condition}; return {shown} }} catch {{ }} }})()"
        deadline = time.monotonic() + WITHIN_S
        while time.monotonic() < deadline:
            if found := self.run(asked):
                return found
            time.sleep(0.05)
        text = self.run("document.body.innerText")
        raise AssertionError(f"never: {condition}\n{self.errors}\n{text}")

    def press(self, key: str, *, text: str = "", modifiers: int = 0) -> None:
        """Press a key as the keyboard would; `modifiers`: 2 is Ctrl, 8 is Shift."""
        codes = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32, "ArrowRight": 39}
        event = {"key": key, "windowsVirtualKeyCode": codes.get(key, 0), "modifiers": modifiers}
        text = text or {"Enter": "\r", " ": " "}.get(key, "")
        self.send("Input.dispatchKeyEvent", type="keyDown", text=text, **event)
        self.send("Input.dispatchKeyEvent", type="keyUp", **event)

    def write(self, text: str) -> None:
        self.send("Input.insertText", text=text)

    def choose_file(self, selector: str, path: Path) -> None:
        """Give a file to an <input type=file>, as the file dialog would."""
        document = self.send("DOM.getDocument")["root"]["nodeId"]
        node = self.send("DOM.querySelector", nodeId=document, selector=selector)["nodeId"]
        self.send("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """A screenshot, of the whole page where `whole`."""
        shot = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def chromium(profile: Path) -> Iterator[Page]:
    """A started browser with a profile of its own; it ends with the block."""
    program = shutil.which("chromium") or shutil.which("google-chrome") or "chromium"
    command = [program, *OPTIONS, f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"HOME": str(profile)},
    )
    try:
        with connect(_address(profile / "DevToolsActivePort"), max_size=None) as socket:
            yield Page(socket)
    finally:
        process.terminate()
        process.wait(30)


def _address(active: Path) -> str:
    """The tab's socket, once the browser has written its port down."""
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        lines = active.read_text().splitlines() if active.is_file() else []
        if len(lines) == 2:
            with urllib.request.urlopen(f"http://127.0.0.1:{lines[0]}/json", timeout=30) as reply:
                tabs = [tab for tab in json.load(reply) if tab["type"] == "page"]
            if tabs:
                return str(tabs[0]["webSocketDebuggerUrl"])
        time.sleep(0.05)
    raise AssertionError("Chromium did not start")
