"""The cloud and the gateway as processes: started, killed and restarted on the ports they had before."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

from andon_workbench.errors import ComponentError
from andon_workbench.ports import LOOPBACK, lasting_port
from andon_workbench.processes import ChildProcess, Command

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from andon_workbench.influxdb import Influxdb
    from andon_workbench.plan import FactoryPlan

_READY_LIMIT_S = 60.0
_STOP_LIMIT_S = 10.0
# The gateway's own defaults.
_UPLINK_TIMEOUT_S = 10.0
_CALL_TIMEOUT_S = 10.0


class Service:
    """One server process that prints a ready line with its addresses."""

    def __init__(self, name: str, folder: Path, patience: float = 1.0) -> None:
        self.name = name
        self.addresses: dict[str, str] = {}
        self._folder = folder
        self._patience = patience
        self._process: ChildProcess | None = None

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid if self.running and self._process is not None else None

    @property
    def running(self) -> bool:
        """Whether the process has been started and has not ended."""
        return self._process is not None and self._process.running

    def address(self, key: str) -> tuple[str, int]:
        """Host and port that the ready line named under `key`."""
        host, _, port = self.addresses[key].rpartition(":")
        return host.strip("[]"), int(port)

    async def start(self) -> None:
        """Start it, on its earlier ports if it has run before, and wait until it is ready.

        Raises:
            ComponentError: it is running already, does not become ready or ends.
        """
        if self.running:
            raise ComponentError(f"{self.name}: is running already")
        self._process = await ChildProcess.start(self.name, self._command(), self._folder / f"{self.name}.log")
        try:
            self.addresses = await self._process.ready(_READY_LIMIT_S * self._patience)
        except BaseException:
            await self._process.kill()
            raise

    def strike(self) -> None:
        """Kill -9 in this instant; `kill` waits for the end as well."""
        if self._process is not None:
            self._process.signal(signal.SIGKILL)

    async def kill(self) -> None:
        """Kill -9."""
        if self._process is not None:
            await self._process.kill()

    async def stop(self) -> None:
        """Ask it to end, kill it if it does not."""
        if self._process is not None:
            await self._process.stop(_STOP_LIMIT_S * self._patience)

    def _command(self) -> Command:
        raise NotImplementedError

    def _port(self, key: str, wanted: int) -> int:
        """The port that it had before; at the first start the wanted one, or one that stays ours while it is dead."""
        return self.address(key)[1] if self.addresses else wanted or lasting_port()


class CloudService(Service):
    """`andon-cloud serve` with its data in the factory's folder."""

    def __init__(self, folder: Path, plan: FactoryPlan, influxdb: Influxdb | None) -> None:
        super().__init__("cloud", folder, plan.patience)
        self._plan = plan
        self._influxdb = influxdb
        self.org = influxdb.org if influxdb is not None else "andon"
        self.bucket = influxdb.bucket if influxdb is not None else "andon"

    @property
    def url(self) -> str:
        """Address of API and console."""
        host, port = self.address("http")
        return f"http://{host}:{port}"

    def _command(self) -> Command:
        environment = {
            "ANDON_CLOUD_BIND": LOOPBACK,
            "ANDON_CLOUD_PORT": str(self._port("http", self._plan.http_port)),
            "ANDON_CLOUD_DATA_DIR": str(self._folder / "cloud"),
            "ANDON_CLOUD_STORE": self._plan.store,
            "ANDON_CLOUD_LOG_LEVEL": "warning",
            "ANDON_CLOUD_INFLUXDB_ORG": self.org,
            "ANDON_CLOUD_INFLUXDB_BUCKET": self.bucket,
        }
        if self._plan.site_key is not None:
            environment["ANDON_CLOUD_SITE_KEY"] = self._plan.site_key
        if self._influxdb is not None:
            environment |= {
                "ANDON_CLOUD_INFLUXDB_URL": self._influxdb.url,
                "ANDON_CLOUD_INFLUXDB_TOKEN": self._influxdb.token,
            }
        return Command([sys.executable, "-m", "andon_cloud.cli", "serve"], environment, self._folder)


class GatewayService(Service):
    """`andon-gateway` with its spool in the factory's folder; it reaches the cloud at `cloud_url` where that is given."""

    def __init__(
        self,
        folder: Path,
        plan: FactoryPlan,
        *,
        gateway: str,
        cloud: CloudService,
        token: str,
        serial_ports: Sequence[Path] = (),
        cloud_url: str | None = None,
    ) -> None:
        super().__init__("gateway", folder, plan.patience)
        self._plan = plan
        self._gateway = gateway
        self._cloud = cloud
        self._token = token
        self._serial_ports = serial_ports
        self._cloud_url = cloud_url

    @property
    def state_folder(self) -> Path:
        """Where its database is."""
        return self._folder / "gateway"

    def _command(self) -> Command:
        serial = "".join(f'\n[[serial]]\nport = "{port.as_posix()}"\n' for port in self._serial_ports)
        unprotected = "" if self._plan.keys else 'allow_unprotected = "*"\n'
        config = self._folder / "gateway.toml"
        config.write_text(
            f"""\
[gateway]
id = "{self._gateway}"
state_dir = "{self.state_folder.as_posix()}"

[coap]
bind = "{self._plan.coap_bind}"
port = {self._port("coap", self._plan.coap_port)}
workers = {self._plan.workers}
{unprotected}
[http]
bind = "{LOOPBACK}"
port = {self._port("http", 0)}

[cloud]
url = "{self._cloud_url or self._cloud.url}"
org = "{self._cloud.org}"
bucket = "{self._cloud.bucket}"
timeout_s = {_CALL_TIMEOUT_S * self._patience:g}

[uplink]
timeout_s = {_UPLINK_TIMEOUT_S * self._patience:g}
{serial}"""
        )
        return Command(
            [sys.executable, "-m", "andon_gateway", "run", "--config", config],
            {"ANDON_GATEWAY_TOKEN": self._token},
            self._folder,
        )
