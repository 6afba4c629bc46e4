"""A chat completions server on loopback that answers as it is told; it speaks the real protocol."""

import base64
import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image

Reply = tuple[int, dict[str, str], bytes]
"""Status, headers, body."""


@dataclass
class Chat:
    """What was asked, and how to answer: `answer(number of the request, its pictures)`."""

    answer: Callable[[int, list[Image.Image]], Reply]
    url: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)  # names in lower case
    most_at_once: int = 0


def completion(content: str | None, *, refusal: str | None = None, tokens: int = 100) -> Reply:
    """A chat completion whose message is `content`."""
    message = {"role": "assistant", "content": content, "refusal": refusal}
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "eye",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": tokens - 9, "completion_tokens": 9, "total_tokens": tokens},
    }
    return 200, {}, json.dumps(body).encode()


def caption(text: str, confidence: Any = 0.75, tokens: int = 100) -> Reply:
    """A chat completion in the form asked for."""
    return completion(json.dumps({"caption": text, "confidence": confidence}), tokens=tokens)


def failure(status: int, message: str = "no", **headers: str) -> Reply:
    """An error as OpenAI words it; a client that tries again does so at once."""
    body = {"error": {"message": message, "type": "error", "param": None, "code": None}}
    return status, {"retry-after-ms": "1", **headers}, json.dumps(body).encode()


def colour(pictures: list[Image.Image]) -> str:
    """What a model might say: the name of the strongest channel in the middle of the first."""
    picture = pictures[0]
    channels = picture.getpixel((picture.width // 2, picture.height // 2))
    return ("red", "green", "blue")[channels.index(max(channels))]


@contextmanager
def chat_server(answer: Callable[[int, list[Image.Image]], Reply]) -> Iterator[Chat]:
    """Serves POST /v1/chat/completions on a free port of loopback."""
    chat, lock, busy = Chat(answer), threading.Lock(), [0]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            parts = request["messages"][0]["content"]
            urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
            pictures = [Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))) for url in urls]
            with lock:
                number = len(chat.requests)
                chat.requests.append(request)
                chat.headers.append({name.lower(): value for name, value in self.headers.items()})
                busy[0] += 1
                chat.most_at_once = max(chat.most_at_once, busy[0])
            status, headers, body = (
                chat.answer(number, pictures)
                if self.path == "/v1/chat/completions"
                else failure(404, f"no {self.path}")
            )
            with lock:
                busy[0] -= 1
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except ConnectionError:  # the client did not wait
                self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    chat.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield chat
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
