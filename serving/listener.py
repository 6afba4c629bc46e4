"""The gateway's HTTP server, on a thread of the gateway's own process.

    listener = Listener(app, host, port); listener.start(); …; listener.stop()

Ray Serve's proxy hands every request to a replica as messages between two processes. That took
18 ms of CPU for a question that the app answers in 2, and a machine of two cores, where the engine
works beside, could not answer 100 a second.
"""

import socket
import threading
import time
from contextlib import closing, suppress

import uvicorn
from starlette.types import ASGIApp

from infra.errors import InfrastructureError

KEEP_ALIVE_S = 90
BACKLOG = 2048
FREE_WITHIN_S = 30.0  # a replica before this one may still be ending its requests
LOOK_S = 0.1
ENDS_WITHIN_S = 10


class Listener:
    """Serves an app from `start` to `stop`, and takes the address when it is made.

    Raises:
        InfrastructureError: something else has the address, and keeps it.
    """

    def __init__(
        self, app: ASGIApp, host: str, port: int, *, free_within_s: float = FREE_WITHIN_S
    ) -> None:
        self._socket = _bound(host, port, free_within_s)
        config = uvicorn.Config(
            app,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=ENDS_WITHIN_S,
            access_log=False,
            log_config=None,  # the process has set up its own
            proxy_headers=False,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)

    @property
    def port(self) -> int:
        """The port that it has, also where any free one was asked for."""
        return int(self._socket.getsockname()[1])

    @property
    def is_serving(self) -> bool:
        return self._thread.is_alive() and self._server.started

    def start(self) -> None:
        """Return when it answers.

        Raises:
            InfrastructureError: the app did not start; its log says why.
        """
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                raise InfrastructureError("the gateway's app did not start; see the log above")
            time.sleep(LOOK_S / 10)

    def stop(self) -> None:
        """Take no more requests, and return when those under way have ended or taken too long."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(2 * ENDS_WITHIN_S)
        self._socket.close()

    def _run(self) -> None:
        with closing(self._socket), suppress(SystemExit):  # of an app that does not start
            self._server.run(sockets=[self._socket])


def _bound(host: str, port: int, free_within_s: float) -> socket.socket:
    """A listening socket; waits while another one has the address."""
    deadline = time.monotonic() + free_within_s
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    while True:
        try:
            return socket.create_server((host, port), family=family, backlog=BACKLOG)
        except OSError as error:
            if time.monotonic() >= deadline:
                raise InfrastructureError(
                    f"cannot listen on {host}:{port}: {error.strerror}; stop the program that has "
                    "that port, or set REEL_SERVE_PORT to a free one"
                ) from error
            time.sleep(LOOK_S)
