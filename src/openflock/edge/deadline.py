"""Exchanges over HTTP that end in time, whoever answers.

Libraries bound each read. Who sends a byte now and then, of its headers even, stays within that for days: so a timer
shuts the connection itself, from below, and what reads from it fails as if the other side had gone.
"""

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from threading import Timer
from typing import Any, Final

import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.poolmanager import pool_classes_by_scheme


class Watched:
    """The connections of an exchange, by numbers of our own: a library may close its own, or hand it on to TLS."""

    def __init__(self) -> None:
        """Watch none yet."""
        self.is_over, self._handles = False, list[socket.socket]()

    def add(self, sock: socket.socket) -> None:
        """Watch a connection; one that is made too late is shut at once."""
        self._handles.append(socket.socket(fileno=os.dup(sock.fileno())))
        if self.is_over:
            self.end()

    def end(self) -> None:
        """Shut all."""
        self.is_over = True
        for handle in list(self._handles):
            with suppress(OSError):  # the other side was quicker
                handle.shutdown(socket.SHUT_RDWR)

    def forget(self) -> None:
        """Give the numbers back; what is open stays so."""
        for handle in self._handles:
            handle.close()


_watched: ContextVar[Watched | None] = ContextVar("watched", default=None)  # of this thread's exchange


@contextmanager
def end_within(seconds: float) -> Iterator[None]:
    """Shut, after some seconds, what this thread has connected to through a pool of this module: TimeoutError.

    It is raised whatever came of it: headers that were cut off are read as if they had ended. To resolve a name, and to
    connect to each of its addresses, takes what these may take by themselves.
    """
    watched = Watched()
    timer = Timer(seconds, watched.end)
    timer.daemon = True
    token = _watched.set(watched)
    timer.start()
    failure: Exception | None = None
    try:
        yield
    except Exception as error:
        failure = error
    finally:
        timer.cancel()
        timer.join()  # a number that was given back may be somebody else's
        _watched.reset(token)
        watched.forget()
    if watched.is_over:
        raise TimeoutError(f"no whole answer within {seconds:g} s") from failure
    if failure:
        raise failure


def open_pool(**settings: Any) -> urllib3.PoolManager:
    """Open a urllib3 pool whose connections can be shut."""
    manager = urllib3.PoolManager(**settings)
    _mend(manager)
    return manager


class EndingAdapter(HTTPAdapter):
    """What a session of requests mounts so that its connections can be shut, a proxy's too."""

    def init_poolmanager(self, *args: Any, **settings: Any) -> None:
        """Open the pools."""
        super().init_poolmanager(*args, **settings)
        _mend(self.poolmanager)

    def proxy_manager_for(self, *args: Any, **settings: Any) -> Any:
        """Open a proxy's pools."""
        manager = super().proxy_manager_for(*args, **settings)
        _mend(manager)
        return manager


class _Ending(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        found = super()._new_conn()
        if watched := _watched.get():
            watched.add(found)
        return found

    def request(self, *args: Any, **settings: Any) -> None:
        if self.sock is not None and (watched := _watched.get()):  # used again
            watched.add(self.sock)
        super().request(*args, **settings)


class _EndingSecurely(_Ending, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Ending


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _EndingSecurely


POOLS: Final[Mapping[str, type[HTTPConnectionPool]]] = {"http": _Pool, "https": _SecurePool}


def _mend(manager: Any) -> None:
    if manager.pool_classes_by_scheme is pool_classes_by_scheme:  # else it has its own, as those of SOCKS have
        manager.pool_classes_by_scheme = POOLS
