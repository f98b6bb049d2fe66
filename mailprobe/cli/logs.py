"""Logging to stderr, as text for people or one JSON object a line; set up once, by the command line."""

from __future__ import annotations

import json
import logging
import sys

from mailprobe.clock import rfc3339
from mailprobe.errors import plain_text


class TextFormatter(logging.Formatter):
    """`2026-01-22T19:00:00.123Z WARNING mailprobe.imap: text`; only tracebacks have further lines."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - logging's name
        return rfc3339(record.created)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        record.message = plain_text(record.message, 2000)
        return super().formatMessage(record)


class JsonFormatter(logging.Formatter):
    """One object a line: time, level, logger, message, and the traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        said = {
            "time": rfc3339(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": plain_text(record.getMessage(), 2000),
        }
        if record.exc_info:
            said["traceback"] = self.formatException(record.exc_info)
        return json.dumps(said)


def set_up(*, verbose: bool = False, as_json: bool = False) -> None:
    """From now on mailprobe logs from INFO (DEBUG if verbose) on, libraries from WARNING on.

    aioimaplib logs passwords and tokens at DEBUG: no option turns that on.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if as_json else TextFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("mailprobe").setLevel(logging.DEBUG if verbose else logging.INFO)
