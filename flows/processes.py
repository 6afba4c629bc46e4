"""Processes of our own: start them in the background, find them again, end their whole tree.

Every process started here carries `REEL_STACK=<stack id>` in its environment, and its children
inherit it. That mark, not a name, decides what `stop` may end: a child whose parent was killed
is still found, a stranger's process never is.
"""

import os
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

MARK = "REEL_STACK"
GRACE_S = 8.0
CHILD_GRACE_S = 3.0


def start(command: Sequence[str], env: Mapping[str, str], log: Path, stack_id: str) -> psutil.Popen:
    """Start `command` in a session of its own, its output in `log`; the log before it is kept."""
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists():
        log.replace(log.with_suffix(".old.log"))
    with log.open("wb") as output:
        return psutil.Popen(
            list(command),
            env={**os.environ, **env, MARK: stack_id},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def find(pid: int, create_time: float) -> psutil.Process | None:
    """The running process with this pid, unless the pid was given to another one since."""
    try:
        process = psutil.Process(pid)
        if abs(process.create_time() - create_time) > 1 or not is_running(process):
            return None
    except psutil.NoSuchProcess:
        return None
    return process


def is_running(process: psutil.Process) -> bool:
    """False for a process that ended, also while it waits as a zombie for its parent."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def marked(stack_id: str) -> list[psutil.Process]:
    """Every process that descends from one started under `stack_id`."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == stack_id and is_running(process):
                found.append(process)
        except (psutil.AccessDenied, psutil.NoSuchProcess, OSError):
            continue  # somebody else's, or gone meanwhile
    return [process for process in found if process.pid != os.getpid()]


def stop(processes: Sequence[psutil.Process], grace_s: float = GRACE_S) -> None:
    """End `processes` and all that descend from them; what has not ended in time is killed.

    The processes themselves are asked first, since they know best how to end their children.
    """
    tree = {member.pid: member for process in processes for member in family(process)}
    _signal(processes, kill=False)
    psutil.wait_procs(processes, timeout=grace_s)
    left = [member for member in tree.values() if is_running(member)]
    _signal(left, kill=False)
    _gone, deaf = psutil.wait_procs(left, timeout=min(grace_s, CHILD_GRACE_S))
    _signal(deaf, kill=True)
    psutil.wait_procs(deaf, timeout=grace_s)


def family(process: psutil.Process) -> list[psutil.Process]:
    """The process and all that descend from it; nothing when it has ended."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _signal(processes: Sequence[psutil.Process], *, kill: bool) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill() if kill else process.terminate()


def port_is_free(host: str, port: int) -> bool:
    """True when a server could bind `host:port` now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_port(host: str) -> int:
    """A port that nothing listens on at this moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
    return port


def port_holder(port: int) -> str:
    """`"name (pid 123)"` of the program that listens on `port`, or "another program"."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:
        connections = []
    for connection in connections:
        address = connection.laddr
        if connection.status != psutil.CONN_LISTEN or not address or address.port != port:
            continue
        if connection.pid:
            return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    return "another program"
