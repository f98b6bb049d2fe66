"""A way to a server that can be cut: TCP connections are handed on until somebody closes the gate."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from support.servers import HOST


class Gate:
    """Listens on `port` and hands every connection on to a port of the same machine."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Cuts what is open; from now on connections are refused."""
        self._closed = True
        for end in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        while not self._closed:
            try:
                inner, _ = self._listener.accept()
                outer = socket.create_connection((HOST, self._target), 10)
            except OSError:
                continue
            outer.settimeout(None)
            self._open += [inner, outer]
            if self._closed:  # while we were connecting
                inner.close()
                outer.close()
                return
            for source, sink in ((inner, outer), (outer, inner)):
                threading.Thread(target=_pump, args=(source, sink), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()


@contextmanager
def gates(*targets: int) -> Iterator[list[Gate]]:
    """A gate to each of the ports, closed at the end."""
    found = [Gate(target) for target in targets]
    try:
        yield found
    finally:
        for gate in found:
            gate.close()
