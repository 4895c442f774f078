"""A real PostgreSQL server for tests, in a temporary folder on a free loopback port. Use with

from cloud.platform.postgres_server import postgres  # noqa: F401 - a fixture
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from cloud.platform.harness import LIMIT_S, wait_until
from parts import require_part

if TYPE_CHECKING:
    from collections.abc import Iterator


def _postgres_programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parent.parent.name))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).parent if on_path else None


def _unprivileged() -> str | None:
    """PostgreSQL refuses to run as root; then some other user of this machine has to own it."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in names)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """URL of a running server's maintenance database."""
    programs = _postgres_programs()
    require_part("postgres", found=programs is not None, how="make deps-test")
    assert programs is not None
    user = _unprivileged()
    folder = Path(tempfile.mkdtemp(prefix="andon-pg-"))
    try:
        if user is not None:
            shutil.chown(folder, user)
        data = folder / "data"
        subprocess.run(
            [programs / "initdb", "-D", data, "-U", "andon", "-A", "trust", "-E", "UTF8", "--no-sync"],
            check=True,
            capture_output=True,
            user=user,
            cwd=folder,
        )
        with socket.socket() as reserved:
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            reserved.bind(("127.0.0.1", 0))
            port = reserved.getsockname()[1]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                # fsync off: durability is not the subject here.
                [programs / "postgres", "-D", data, "-h", "127.0.0.1", "-p", str(port), "-k", folder, "-F"],
                stdout=log,
                stderr=log,
                user=user,
                cwd=folder,
            )
        url = f"postgresql://andon@127.0.0.1:{port}/postgres"
        try:
            wait_until(lambda: _answers(url))
            yield url
        finally:
            server.send_signal(signal.SIGQUIT)
            server.wait(LIMIT_S)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=1).close()
    except psycopg.OperationalError:
        return False
    return True
