"""What must not stand in a log: keys, signing secrets, and what users wrote."""

import logging
import re
import traceback

SECRETS = re.compile(
    r"(?i)\b(?:bearer\s+\S+|whsec_[\w+/=-]+|reel_[\w-]{20,}|sk-[\w-]{8,})|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"
)


def redacted(text: str, *words: str) -> str:
    """`text` without keys and secrets, and without `words`, where a user wrote them."""
    for word in words:
        if word.strip():
            text = text.replace(word, "[removed]").replace(repr(word)[1:-1], "[removed]")
    return SECRETS.sub("[removed]", text)


def trace(error: BaseException, *words: str) -> str:
    """The traceback of `error`, redacted."""
    return redacted("".join(traceback.format_exception(error)), *words)


def frames(error: BaseException) -> str:
    """Where `error` and its causes came from, without their messages, which may quote a request."""
    lines: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(lines) < 200:
        lines += [*traceback.format_tb(cause.__traceback__), f"{type(cause).__name__}\n"]
        cause = cause.__cause__ or cause.__context__
    return "".join(lines)


class Redaction(logging.Filter):
    """Takes keys and secrets out of every record of a handler."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redacted(record.getMessage()), ()
        if record.exc_info and record.exc_info[1] is not None:
            record.exc_text = trace(record.exc_info[1]).rstrip()
        return True


def redact_logs() -> None:
    """Redact what this process logs, on every handler of the root logger."""
    for handler in logging.getLogger().handlers:
        if not any(isinstance(each, Redaction) for each in handler.filters):
            handler.addFilter(Redaction())
