"""A node's log: one line an event; JSON lines in its directory, words on the terminal, no secrets in either."""

import logging
import sys
from collections.abc import Collection, Mapping, MutableMapping
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import urlsplit

import structlog
from structlog.stdlib import BoundLogger, ProcessorFormatter
from structlog.typing import Processor

NAME = "openflock.node"
SIZE, KEPT = 2**24, 4  # bytes of a log file, and how many older ones are kept
HIDDEN = "***"

Fields = MutableMapping[str, Any]


def open_log(file: Path | None, secrets: Collection[str] = (), terminal: TextIO | None = None) -> BoundLogger:
    """Open a node's log; what is in `secrets` is blotted out wherever it would appear, tracebacks too."""
    close_log()
    logger = logging.getLogger(NAME)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    stream = terminal or sys.stderr
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        Plain(secrets),
    ]
    words = structlog.dev.ConsoleRenderer(colors=stream.isatty(), pad_event_to=12)
    logger.addHandler(_format(logging.StreamHandler(stream), words))
    if file is not None:
        file.touch(mode=0o600)
        handler = RotatingFileHandler(file, maxBytes=SIZE, backupCount=KEPT, encoding="utf-8")
        logger.addHandler(_format(handler, structlog.processors.JSONRenderer()))
    log: BoundLogger = structlog.wrap_logger(
        logger,
        processors=[*shared, ProcessorFormatter.wrap_for_formatter],
        wrapper_class=BoundLogger,
        cache_logger_on_first_use=True,
    )
    return log


def close_log() -> None:
    """Close the files of a log."""
    logger = logging.getLogger(NAME)
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()


def _format(handler: logging.Handler, renderer: Processor) -> logging.Handler:
    handler.setFormatter(ProcessorFormatter(processors=[ProcessorFormatter.remove_processors_meta, renderer]))
    return handler


class Plain:
    """Turn what code speaks of into what a line may hold: digests as hex, names for numbers, no secret."""

    def __init__(self, secrets: Collection[str]) -> None:
        """Know what to hide; the longest first, since one secret may hold another."""
        self._secrets = sorted(filter(None, secrets), key=len, reverse=True)

    def __call__(self, _logger: Any, _method: str, fields: Fields) -> Fields:
        """Clean one line's fields."""
        return {name: self._clean(value) for name, value in fields.items()}

    def _clean(self, value: Any) -> Any:
        if isinstance(value, bytes):
            return value.hex()
        if isinstance(value, Mapping):
            return {name: self._clean(item) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._clean(item) for item in value]
        return self.blot(value) if isinstance(value, str) else value

    def blot(self, text: str) -> str:
        """Blot secrets out of a text."""
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return text


def list_secrets(urls: Collection[str]) -> list[str]:
    """List what must not be shown of URLs: what follows the host, where a provider's key is, and who logs in.

    >>> list_secrets(["https://me:word@example.org/v3/key?token=1", "http://127.0.0.1:8545"])
    ['/v3/key?token=1', 'v3/key', 'me:word', 'word']
    """
    secrets = []
    for url in urls:
        parts = urlsplit(url)
        tail = parts.path + (f"?{parts.query}" if parts.query else "")
        if len(tail) > 1:
            secrets += [tail, parts.path.strip("/")]
        if "@" in parts.netloc:
            secrets += [parts.netloc.rpartition("@")[0], parts.password or ""]
    return [secret for secret in secrets if secret]
