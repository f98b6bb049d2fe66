"""The web configuration in use: read again when one of its files changes, kept when the new one is wrong."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from mailprobe.errors import ConfigurationError
from mailprobe.web.web_config import read_web_config

logger = logging.getLogger(__name__)

_Stamp = tuple[tuple[int, int, int] | None, ...]


class Settings:
    """Who may come in and how; `refresh` as often as you like, it costs a few stat() calls.

    Whether TLS is spoken at all, and what is asked of clients' certificates, is decided when the server starts.
    """

    def __init__(self, path: Path | None) -> None:
        """Raises ConfigurationError if the file cannot be used."""
        self._path = path
        self.config = read_web_config(path)
        self._certificate = self.config.tls.context() if self.config.tls else None
        self._stamp = self._look()

    @property
    def is_file(self) -> bool:
        """True if there is a file that may change."""
        return self._path is not None

    def refresh(self) -> None:
        """Takes what has changed into use; a file that is wrong is said in the log once, and changes nothing."""
        if self._path is None or (stamp := self._look()) == self._stamp:
            return
        self._stamp = stamp
        try:
            config = read_web_config(self._path)
            certificate = config.tls.context() if config.tls else self._certificate
        except ConfigurationError as error:
            for problem in error.problems:
                logger.error("web configuration not used: %s", problem)
            return
        self.config, self._certificate = config, certificate
        self._stamp = self._look()

    def listening_context(self) -> ssl.SSLContext | None:
        """The context to listen with, None without TLS; each handshake gets the certificate of that moment."""
        if self.config.tls is None:
            return None
        context = self.config.tls.context()
        context.sni_callback = self._handshake
        return context

    def _handshake(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        self.refresh()
        if self._certificate:
            connection.context = self._certificate

    def _look(self) -> _Stamp:
        files = (self._path, *(self.config.tls.files if self.config.tls else ()))
        return tuple(_stamp(path) for path in files if path)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
