"""The gateway's configuration: one TOML file, checked before anything starts."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path  # noqa: TC003 -- pydantic needs the class when it builds the models
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from andon_gateway.errors import SettingsError
from andon_gateway.spool.windows import aggregated_names
from andon_gateway.vocabulary import is_node_id

DATABASE_NAME: Final = "gateway.sqlite3"
TOKEN_VARIABLE: Final = "ANDON_GATEWAY_TOKEN"  # noqa: S105 -- the variable's name, not a token
MOST_WORKERS: Final = 16
INFLUX_TOKEN_VARIABLE: Final = "ANDON_INFLUXDB_TOKEN"  # noqa: S105 -- same


def _label(text: str) -> str:
    if not is_node_id(text):
        raise ValueError("expected a DNS label such as gateway-1 (a-z, 0-9, inner hyphens, at most 63)")
    return text


Label = Annotated[str, AfterValidator(_label)]
Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GatewaySection(_Section):
    """[gateway]: who this is and where its state lives."""

    id: Label
    state_dir: Path
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    drain_s: Seconds = 5.0
    trust_clock: bool = False
    """The clock is right, whatever the state folder and the nodes say (nodes/own_clock.py)."""


class CoapSection(_Section):
    """[coap]: where nodes reach the gateway; port 0 picks a free one."""

    bind: str = "::"
    port: Port = 5683
    allow_unprotected: tuple[Label, ...] | Literal["*"] = ()
    """Nodes that may speak without OSCORE; `*`: every node that has no keys."""
    fast_path: bool = True
    """Whether telemetry is handled without aiocoap; the answers are the same."""
    gather_ms: Annotated[float, Field(ge=0, le=100)] = 25.0
    """How long datagrams may wait for each other while some forty a second come, or more; 0: not at all, at several times the CPU time."""
    workers: Annotated[int, Field(ge=1, le=MOST_WORKERS)] = 1
    """Processes that receive telemetry on the same port; 1: the gateway itself, without any other."""

    @field_validator("allow_unprotected", mode="before")
    @classmethod
    def _names_or_star(cls, value: object) -> object:
        # pydantic's own words about a union name its types, which help nobody who writes the file.
        if value == "*" or (
            isinstance(value, list) and all(isinstance(item, str) and is_node_id(item) for item in value)
        ):
            return value
        raise ValueError('expected a list of node ids, such as ["press-7"], or "*"')

    @model_validator(mode="after")
    def _workers_need_the_fast_path(self) -> Self:
        if self.workers > 1 and not self.fast_path:
            raise ValueError("workers above 1 need fast_path = true")
        return self


class SerialSection(_Section):
    """[[serial]]: one port with a wired node at its other end (slipmux)."""

    port: Path
    baud: Literal[9600, 19200, 38400, 57600, 115200, 230400, 460800, 921600] = 115200


class HttpSection(_Section):
    """[http]: where /metrics and /healthz are; loopback unless told otherwise."""

    bind: str = "127.0.0.1"
    port: Port = 8081


class CloudSection(_Section):
    """[cloud]: where telemetry goes and commands come from."""

    url: Annotated[str, Field(pattern=r"^https?://[^\s/]+")]
    org: str = "andon"
    bucket: str = "telemetry"
    token_file: Path | None = None
    stream_timeout_s: Seconds = 45.0  # three of the cloud's keep-alive comments
    timeout_s: Seconds = 10.0
    """For the cloud's answers to reports and downloads."""


class InfluxSection(_Section):
    """[influxdb]: where telemetry goes instead of the cloud's write endpoint; commands still come from the cloud."""

    url: Annotated[str, Field(pattern=r"^https?://[^\s/]+")]
    org: str = "andon"
    bucket: str = "telemetry"
    token_file: Path | None = None


class NodesSection(_Section):
    """[nodes]: what one node may ask of the gateway, and how many there may be."""

    most: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    most_unknown: Annotated[int, Field(ge=0, le=100_000)] = 256
    packs_per_s: Annotated[float, Field(ge=0, le=1_000_000)] = 100.0
    """Per node; 0: no limit."""
    burst: Annotated[int, Field(ge=1, le=1_000_000)] = 1000
    clock_limit_s: Seconds = 5.0
    silent_s: Seconds = 120.0
    metrics_most: Annotated[int, Field(ge=0, le=100_000)] = 500
    """Nodes with a label of their own in /metrics; the others are added up as `other`."""


def _pattern(text: str) -> str:
    if not aggregated_names(text):
        raise ValueError("expected a pattern of continuous quantities, such as temperature/* or humidity/0")
    return text


class AggregateSection(_Section):
    """[[aggregate]]: channels that are written per window; the first entry that matches a channel decides."""

    match: Annotated[str, AfterValidator(_pattern)]
    window_s: Annotated[int, Field(ge=1, le=86_400)] = 60
    grace_s: Annotated[float, Field(ge=0, le=3600)] = 2.0
    raw: bool = True


class SpoolSection(_Section):
    """[spool]: bounds of a group commit, of the bytes that wait, and how late a reading may be for its aggregate."""

    commit_ms: Annotated[float, Field(ge=0, le=1000)] = 5.0
    commit_packs: Annotated[int, Field(ge=1, le=100_000)] = 512
    most_waiting: Annotated[int, Field(ge=1, le=1_000_000)] = 4096
    quota_bytes: Annotated[int, Field(ge=1 << 16)] = 1 << 30
    quarantine_bytes: Annotated[int, Field(ge=0)] = 16 << 20
    aggregate_late_s: Seconds = 86_400.0


class RulesSection(_Section):
    """[rules]: alarm rules, which come from the cloud."""

    act_within_s: Seconds = 30.0
    """A reading that was older at its arrival still raises its alarm, but switches no relay."""


class UplinkSection(_Section):
    """[uplink]: batches and pauses of the writes to the cloud."""

    batch_packs: Annotated[int, Field(ge=1, le=10_000)] = 500
    batch_points: Annotated[int, Field(ge=1, le=100_000)] = 5000
    batch_age_s: Annotated[float, Field(ge=0, le=60)] = 0.02
    live_s: Seconds = 5.0
    points_per_s: Annotated[float, Field(ge=0, le=10_000_000)] = 0.0
    """Most points per second to the cloud; 0: no limit."""
    timeout_s: Seconds = 10.0
    retry_first_s: Seconds = 0.2
    retry_most_s: Seconds = 10.0
    refused_s: Seconds = 15.0  # pause after 401, 403, 404: only a person can mend those


class Settings(_Section):
    """The whole file."""

    gateway: GatewaySection
    cloud: CloudSection
    coap: CoapSection = CoapSection()
    serial: tuple[SerialSection, ...] = ()
    http: HttpSection = HttpSection()
    influxdb: InfluxSection | None = None
    nodes: NodesSection = NodesSection()
    aggregate: tuple[AggregateSection, ...] = ()
    spool: SpoolSection = SpoolSection()
    rules: RulesSection = RulesSection()
    uplink: UplinkSection = UplinkSection()

    @field_validator("serial")
    @classmethod
    def _each_port_once(cls, lines: tuple[SerialSection, ...]) -> tuple[SerialSection, ...]:
        for index, line in enumerate(lines):
            if line.port in [other.port for other in lines[:index]]:
                raise ValueError(f"{line.port} is there twice; a port has one wired node")
        return lines


def load_settings(path: Path) -> Settings:
    """Read and check the configuration file.

    Raises:
        SettingsError: One line naming the file, the key and what was expected.
    """
    try:
        with path.open("rb") as file:
            return Settings.model_validate(tomllib.load(file))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror}); give an existing file with --config") from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: not UTF-8, as TOML has to be: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: not TOML: {error}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        expected = "is no known key" if first["type"] == "extra_forbidden" else first["msg"]
        raise SettingsError(f"{path}: {key}: {expected}") from None


def load_token(settings: Settings, path: Path) -> str:
    """The token for the cloud, from the environment or the token file.

    Raises:
        SettingsError: Neither gives one.
    """
    return _token(settings.cloud.token_file, TOKEN_VARIABLE, path, "cloud")


def load_influx_token(settings: Settings, path: Path) -> str:
    """The token for the InfluxDB of [influxdb]; empty without that section.

    Raises:
        SettingsError: The section is there and nothing gives a token.
    """
    section = settings.influxdb
    return "" if section is None else _token(section.token_file, INFLUX_TOKEN_VARIABLE, path, "influxdb")


def _token(file: Path | None, variable: str, path: Path, section: str) -> str:
    token = os.environ.get(variable, "").strip()
    if not token and file is not None:
        try:
            token = file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{path}: {section}.token_file: cannot be read ({error})") from None
    if not token or not token.isascii() or not token.isprintable():
        raise SettingsError(f"{path}: {section}.token_file: expected a file with the token, or {variable} set")
    return token
