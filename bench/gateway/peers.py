"""The peers, each on the server's core: plain aiocoap, node-coap, mosquitto with a paho subscriber. What is missing is said, not guessed."""

from __future__ import annotations

import contextlib
import getpass
import json
import shutil
import socket
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.gateway.processes import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

HERE: Final = Path(__file__).parent
NODE_COAP: Final = "1.5.0"
CACHE: Final = Path.home() / ".cache" / "andon" / "bench"
INSTALL_LIMIT_S: Final = 120
PEERS: Final = ("aiocoap", "node-coap", "mosquitto")


class PeerMissingError(Exception):
    """A peer is not on this machine; the message says how to get it."""


def node_coap_folder(say: Callable[[str], None]) -> Path:
    """Where node-coap is; npm puts it into the user's cache, once.

    Raises:
        PeerMissingError: No Node.js, or npm cannot get it.
    """
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise PeerMissingError("node-coap needs Node.js with npm; on Debian: apt-get install nodejs npm")
    folder = CACHE / f"node-coap-{NODE_COAP}"
    if (folder / "node_modules" / "coap" / "package.json").is_file():
        return folder
    say(f"installing node-coap {NODE_COAP} with npm into {folder} (once, a few seconds)")
    CACHE.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=CACHE))
    (fresh / "package.json").write_text('{"private": true}')
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", f"coap@{NODE_COAP}"]
    try:
        subprocess.run(command, cwd=fresh, capture_output=True, text=True, timeout=INSTALL_LIMIT_S, check=True)
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)  # at last, so that an interrupted install is never taken for a complete one
    except subprocess.CalledProcessError as error:
        raise PeerMissingError(f"npm cannot install coap@{NODE_COAP}: {error.stderr.strip()[-300:]}") from None
    except subprocess.TimeoutExpired:
        raise PeerMissingError(f"npm has not installed coap@{NODE_COAP} in {INSTALL_LIMIT_S} s") from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return folder


def mosquitto_path() -> str:
    """The broker.

    Raises:
        PeerMissingError: It is not installed.
    """
    found = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if found is None:
        raise PeerMissingError("mosquitto is missing; on Debian: make deps-test, or apt-get install mosquitto")
    return found


@contextmanager
def run_aiocoap(
    folder: Path, core: int, keys: Mapping[str, Mapping[str, str]] | None = None
) -> Iterator[ServerProcess]:
    """A plain aiocoap resource; with keys, one that speaks OSCORE."""
    command = [sys.executable, "-m", "bench.gateway.aiocoap_server"]
    if keys is not None:
        table = folder / "aiocoap-keys.json"
        table.write_text(json.dumps(keys))
        command.append(str(table))
    with ServerProcess("aiocoap", command, core, folder / "aiocoap.log") as process:
        yield process


@contextmanager
def run_node_coap(folder: Path, core: int, say: Callable[[str], None]) -> Iterator[ServerProcess]:
    """A plain node-coap server.

    Raises:
        PeerMissingError: It cannot be had.
    """
    command = ["node", str(HERE / "node_coap_server.js"), str(node_coap_folder(say))]
    with ServerProcess("node-coap", command, core, folder / "node-coap.log") as process:
        yield process


@contextmanager
def run_mosquitto(folder: Path, core: int) -> Iterator[tuple[int, ServerProcess, ServerProcess]]:
    """(port, broker, subscriber): a broker that drops nothing, and one paho subscriber at QoS 1.

    Raises:
        PeerMissingError: There is no broker.
    """
    path = mosquitto_path()
    with socket.create_server(("127.0.0.1", 0)) as probe:  # mosquitto cannot say which free port it got
        port = int(probe.getsockname()[1])
    config = folder / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nmax_queued_messages 0\n"
        f"user {getpass.getuser()}\nlog_type error\n"
    )
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(
            ServerProcess("mosquitto", [path, "-c", str(config)], core, folder / "mosquitto.log")
        )
        command = [sys.executable, "-m", "bench.gateway.paho_subscriber", str(port)]
        subscriber = stack.enter_context(ServerProcess("paho subscriber", command, core, folder / "paho.log"))
        subscriber.ready()
        yield port, broker, subscriber
