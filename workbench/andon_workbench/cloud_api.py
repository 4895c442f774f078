"""The cloud's REST API as the workbench uses it: registry, relay commands, telemetry queries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import httpx

from andon_workbench.errors import CloudApiError
from andon_workbench.reconcile import Stored, StoredPoint, raw_from_celsius

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType

    from andon_workbench.reconcile import Channel

TIMEOUT_S = 30.0
# The store is asked for everything: from 1970 to the year 2100, milliseconds.
_ALL_TIME = {"start": 0, "stop": 4_102_444_800_000}


@dataclass(frozen=True, slots=True)
class IssuedCommand:
    """A relay command as the cloud sees it: id, status (docs/protocol.md, Relay commands) and what was said last."""

    id: str
    status: str
    detail: str

    @property
    def final(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status in {"confirmed", "expired", "failed"}


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest sample of one field of one series."""

    tags: Mapping[str, str]
    field: str
    time_ms: int
    value: Any


class CloudApi:
    """A client of one cloud. Every method raises `CloudApiError` when the cloud refuses or cannot be reached.

    `keep_alive` is whether connections are used again: not on a fast clock, where the server's few seconds of patience with an idle
    one are over in milliseconds, perhaps while the next request is on its way.
    """

    def __init__(
        self, url: str, token: str | None = None, timeout_s: float = TIMEOUT_S, *, keep_alive: bool = True
    ) -> None:
        self.url = url.rstrip("/")
        limits = httpx.Limits(max_connections=100, max_keepalive_connections=20 if keep_alive else 0)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.AsyncClient(
            base_url=self.url, headers=headers, timeout=timeout_s, limits=limits, trust_env=False
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Release the connections."""
        await self._http.aclose()

    async def register_gateway(self, gateway: str, name: str) -> str:
        """Register a gateway and return its token."""
        answer = await self._ask("POST", "/api/v1/gateways", json={"id": gateway, "name": name})
        return str(answer["token"])

    async def register_machine(self, machine: Mapping[str, object]) -> None:
        """Register a machine: id, name, kind, site, area, line, ideal_cycle_s."""
        await self._ask("POST", "/api/v1/machines", json=dict(machine))

    async def register_node(self, node: str, machine: str, gateway: str) -> None:
        """Register a node on a machine, served by a gateway."""
        await self._ask("POST", "/api/v1/nodes", json={"id": node, "machine_id": machine, "gateway_id": gateway})

    async def nodes(self) -> list[dict[str, Any]]:
        """All nodes by id."""
        return list(await self._ask("GET", "/api/v1/nodes"))

    async def make_credentials(self, node: str) -> dict[str, Any]:
        """Have new keys made for a node; the answer holds them, this once."""
        return dict(await self._ask("POST", f"/api/v1/nodes/{node}/credentials"))

    async def make_keys(self, node: str) -> dict[str, str]:
        """The same as the node's `keys.json` holds them."""
        answer = await self.make_credentials(node)
        return {field: str(answer[field]) for field in ("secret", "salt", "sender_id", "recipient_id")}

    async def upload_firmware(self, bundle: bytes) -> dict[str, Any]:
        """Upload a signed bundle; the answer has its `sha256` and version. The same one again is no error."""
        return dict(await self._ask("POST", "/api/v1/firmware", content=bundle))

    async def order_update(self, node: str, sha256: str, *, reason: str, expires_s: int) -> dict[str, Any]:
        """Order that a node is updated to an uploaded bundle."""
        body = {"sha256": sha256, "reason": reason, "expires_s": expires_s}
        return dict(await self._ask("POST", f"/api/v1/nodes/{node}/update", json=body))

    async def updates(self, node: str) -> list[dict[str, Any]]:
        """The newest updates of a node, newest first."""
        return list(await self._ask("GET", f"/api/v1/nodes/{node}/updates"))

    async def update(self, update: str) -> dict[str, Any]:
        """How far an update has come, with its audit log."""
        return dict(await self._ask("GET", f"/api/v1/updates/{update}"))

    async def order_configuration(
        self, node: str, document: bytes, *, signature: str | None, reason: str, expires_s: int
    ) -> dict[str, Any]:
        """Order that a node runs a configuration; the document goes to it byte by byte."""
        params = {"reason": reason, "expires_s": str(expires_s)} | ({"sig": signature} if signature else {})
        path = f"/api/v1/nodes/{node}/configurations"
        headers = {"Content-Type": "application/json"}
        return dict(await self._ask("POST", path, content=document, params=params, headers=headers))

    async def configurations(self, node: str) -> list[dict[str, Any]]:
        """The newest configurations of a node, newest first."""
        return list(await self._ask("GET", f"/api/v1/nodes/{node}/configurations"))

    async def configuration(self, configuration: str) -> dict[str, Any]:
        """How far a configuration has come, with its audit log."""
        return dict(await self._ask("GET", f"/api/v1/configurations/{configuration}"))

    async def machines(self) -> list[dict[str, Any]]:
        """All machines by id."""
        return list(await self._ask("GET", "/api/v1/machines"))

    async def switch_relay(
        self, machine: str, relay: int, *, state: bool, lease_s: int, expires_s: int
    ) -> IssuedCommand:
        """Issue a relay command."""
        body = {"state": state, "lease_s": lease_s, "expires_s": expires_s, "reason": "demo"}
        return _command(await self._ask("POST", f"/api/v1/machines/{machine}/relays/{relay}/commands", json=body))

    async def command(self, command: str) -> IssuedCommand:
        """How far a relay command has come."""
        return _command(await self._ask("GET", f"/api/v1/commands/{command}"))

    async def latest(self, measurement: str) -> list[Newest]:
        """Newest sample of every field of every series of a measurement."""
        answer = await self._ask("GET", "/api/v1/telemetry/latest", params={"measurement": measurement})
        return [
            Newest(series["tags"], series["field"], *series["samples"][-1])
            for series in answer["series"]
            if series["samples"]
        ]

    async def stored(self, nodes: Iterable[str]) -> Stored:
        """What the store holds that the ledger knows too: all temperatures of `nodes`, the newest cycle totals of all.

        Node by node, so that each answer stays far below the API's limit of samples.
        """
        temperatures: dict[Channel, list[StoredPoint]] = {}
        for node in nodes:
            params = {"measurement": "temperature", "fields": "celsius", "node": node, **_ALL_TIME}
            answer = await self._ask("GET", "/api/v1/telemetry/range", params=params)
            for series in answer["series"]:
                points = [StoredPoint(time_ms, raw_from_celsius(value)) for time_ms, value in series["samples"]]
                temperatures.setdefault(channel_of(series["tags"]), []).extend(points)
        return Stored(temperatures, await self.cycle_totals())

    async def cycle_totals(self) -> dict[Channel, int]:
        """The newest cycle total of every channel."""
        return {
            channel_of(newest.tags): int(newest.value)
            for newest in await self.latest("cycles")
            if newest.field == "total"
        }

    async def history(self, measurement: str, field: str, node: str) -> list[tuple[int, Any]]:
        """Every sample of one field of one node's only series: milliseconds since the epoch, and the value."""
        params = {"measurement": measurement, "fields": field, "node": node, **_ALL_TIME}
        answer = await self._ask("GET", "/api/v1/telemetry/range", params=params)
        return [(time_ms, value) for series in answer["series"] for time_ms, value in series["samples"]]

    async def samples(self, measurement: str, field: str, node: str) -> dict[int, list[tuple[int, Any]]]:
        """Every sample of one field of one node by channel, oldest first: milliseconds since the epoch, and the value."""
        params = {"measurement": measurement, "fields": field, "node": node, **_ALL_TIME}
        answer = await self._ask("GET", "/api/v1/telemetry/range", params=params)
        found: dict[int, list[tuple[int, Any]]] = {}
        for series in answer["series"]:
            _, channel = channel_of(series["tags"])
            found.setdefault(channel, []).extend((time_ms, value) for time_ms, value in series["samples"])
        return found

    async def health(self) -> dict[str, Any]:
        """The cloud's own health."""
        return dict(await self._ask("GET", "/healthz"))

    async def _ask(self, method: str, path: str, **options: Any) -> Any:
        try:
            answer = await self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            raise CloudApiError(f"{self.url} does not answer: {str(error) or type(error).__name__}") from error
        if answer.is_error:
            raise CloudApiError(f"{method} {self.url}{path}: {answer.status_code} {_explanation(answer)}")
        return answer.json()


def channel_of(tags: Mapping[str, str]) -> Channel:
    """Node and channel of a series."""
    return tags["node"], int(tags["channel"])


def _command(answer: Mapping[str, Any]) -> IssuedCommand:
    return IssuedCommand(str(answer["id"]), str(answer["status"]), str(answer.get("detail", "")))


def _explanation(answer: httpx.Response) -> str:
    """What a problem document (RFC 9457) says, else the body's beginning."""
    try:
        problem = answer.json()
    except ValueError:
        return answer.text[:200]
    return str(problem.get("detail") or problem) if isinstance(problem, dict) else str(problem)
