"""What the cases of an unmodified openai client share. It imports nothing of ours."""

import base64
from collections.abc import Callable
from typing import Any

import openai

MAJOR = int(openai.__version__.split(".")[0])
Client = openai.OpenAI
# 96x64 of one colour; written out, since the other client's folder has no imaging library.
PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAGAAAABACAIAAABqVuVZAAAAaElEQVR42u3QMQEAAAQAMATRP4pYEvgdW4TldAe3Ui"
    "BIkCBBggQJEoQgQYIECRIkSBCCBAkSJEiQIEEIEiRIkCBBggQJQpAgQYIECRIkCEGCBAkSJEiQIAQJEiRIkCBBggQh"
    "SJAgQf8svTcBhLDa1vcAAAAASUVORK5CYII="
)


def fails(error: type[Exception], call: Callable[[], Any]) -> Any:
    """The exception that the call raises."""
    try:
        call()
    except error as raised:
        return raised
    raise AssertionError(f"no {error.__name__}")


def made(client: Client, **fields: Any) -> Any:
    """A finished video of one second."""
    fields = {"prompt": "a", "seconds": "1", "size": "96x64"} | fields
    video = client.videos.create_and_poll(**fields)
    assert (video.status, video.error) == ("completed", None), video
    return video
