"""Calls that get no answer: their connections stay open until the client has gone."""

from __future__ import annotations

import contextlib
import socket
import threading

_CHUNK = 65_536


class Hanging:
    """All connections that hang. Any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[threading.Thread, socket.socket] = {}
        self._ended = False

    def wait(self, connection: socket.socket) -> None:
        """Wait until the client has closed the connection, or :meth:`end` was called."""
        thread = threading.current_thread()
        with self._lock:
            if self._ended:
                return
            self._open[thread] = connection
        try:
            with contextlib.suppress(OSError):
                while connection.recv(_CHUNK):
                    pass
        finally:
            with self._lock:
                del self._open[thread]

    def end(self) -> None:
        """Let nobody hang any more, and wait until their threads have ended."""
        with self._lock:
            self._ended = True
            threads = list(self._open)
            for connection in self._open.values():
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()
