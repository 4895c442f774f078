"""Settings from the environment (`ANDON_CLOUD_...`), an optional TOML file and an optional `.env` file."""

from __future__ import annotations

import ipaddress
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from andon_cloud.identifiers import DNS_LABEL_PATTERN

PREFIX = "ANDON_CLOUD_"
MIN_TOKEN_LENGTH = 16


class SettingsError(Exception):
    """A setting is wrong; the message is one line that names the key and what was expected."""


class Settings(BaseSettings):
    """Everything that differs between installations. Later sources win: defaults, TOML, `.env`, environment, arguments."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_file=".env", extra="ignore", hide_input_in_errors=True)

    bind: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    data_dir: Path = Path("andon-data")
    database_url: SecretStr | None = Field(default=None, description="sqlite:///FILE or postgresql://...")
    api_token: SecretStr | None = None
    bootstrap_gateways: Annotated[dict[str, SecretStr], NoDecode] = Field(default_factory=dict)
    console: bool = True
    site_key: str | None = Field(default=None, description="The site's public key: 64 hexadecimal digits")
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    store: Literal["embedded", "influxdb"] = "embedded"
    influxdb_url: str | None = None
    influxdb_token: SecretStr | None = None
    influxdb_org: str = "andon"
    influxdb_bucket: str = "telemetry"

    command_poll_s: float = Field(default=1.0, gt=0, le=60, description="How soon other cloud processes are noticed")
    confirm_timeout_s: int = Field(default=300, ge=1, description="An acknowledged command unconfirmed so long failed")
    stream_keepalive_s: float = Field(default=15.0, gt=0, le=60)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put the TOML file, when `load` names one, below the environment."""
        toml = TomlConfigSettingsSource(settings_cls)
        return init_settings, env_settings, dotenv_settings, file_secret_settings, toml

    @field_validator("api_token", "database_url", "influxdb_url", "influxdb_token", "site_key", mode="before")
    @classmethod
    def _empty_is_unset(cls, value: object) -> object:
        # Compose files pass `${NAME:-}`, which is the empty string when the person set nothing.
        return None if value == "" else value

    @field_validator("api_token")
    @classmethod
    def _api_token_is_long(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < MIN_TOKEN_LENGTH:
            raise ValueError(f"expected at least {MIN_TOKEN_LENGTH} characters")
        return value

    @field_validator("site_key")
    @classmethod
    def _site_key_is_a_key(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", value):
            raise ValueError("expected 64 hexadecimal digits, as `andon firmware keygen` prints them")
        return value

    @field_validator("bootstrap_gateways", mode="before")
    @classmethod
    def _split_gateways(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        gateways: dict[str, str] = {}
        for item in filter(None, (part.strip() for part in value.split(","))):
            name, separator, token = item.partition(":")
            if not separator:
                raise ValueError("expected GATEWAY:TOKEN, several separated by commas")
            gateways[name.strip()] = token.strip()
        return gateways

    @field_validator("bootstrap_gateways")
    @classmethod
    def _gateways_are_usable(cls, value: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name, token in value.items():
            if not re.fullmatch(DNS_LABEL_PATTERN, name):
                raise ValueError(f"expected a DNS label as the gateway's id, not {name!r}")
            if len(token.get_secret_value()) < MIN_TOKEN_LENGTH:
                raise ValueError(f"expected a token of at least {MIN_TOKEN_LENGTH} characters for {name}")
        return value

    @field_validator("database_url")
    @classmethod
    def _database_is_known(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.match(r"(sqlite|postgresql)(\+\w+)?://", value.get_secret_value()):
            raise ValueError("expected sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME")
        return value

    @model_validator(mode="after")
    def _influxdb_is_complete(self) -> Self:
        if self.store == "influxdb":
            for key in ("influxdb_url", "influxdb_token"):
                if getattr(self, key) is None:
                    raise ValueError(f"{PREFIX}{key.upper()}: expected a value, since {PREFIX}STORE is influxdb")
        return self

    @model_validator(mode="after")
    def _open_only_on_loopback(self) -> Self:
        if self.api_token is None and not is_loopback(self.bind):
            raise ValueError(
                f"{PREFIX}API_TOKEN: expected a token, since {PREFIX}BIND={self.bind} is reachable from other machines; "
                "without a token only a loopback address such as 127.0.0.1 is allowed"
            )
        return self

    @property
    def effective_database_url(self) -> str:
        """The database's URL; a SQLite file in `data_dir` unless one was set."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{self.data_dir / 'cloud.sqlite'}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address; names other than localhost count as reachable."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def load(config: Path | None = None, **overrides: Any) -> Settings:
    """Read the settings.

    Args:
        config: TOML file with the keys of `Settings` in lower case.
        overrides: Values that win over every other source; None means not given.

    Raises:
        SettingsError: One line naming the key and what was expected.
    """
    if config is not None:
        _check_file(config)

    class Loaded(Settings):
        # The file is a property of this call, which pydantic-settings takes from the class.
        model_config = SettingsConfigDict(toml_file=config)

    try:
        return Loaded(**{key: value for key, value in overrides.items() if value is not None})
    except ValidationError as error:
        raise SettingsError(_one_line(error)) from error


def _check_file(config: Path) -> None:
    try:
        content = tomllib.loads(config.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{config}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{config}: expected TOML: {error}") from error
    unknown = sorted(set(content) - set(Settings.model_fields))
    if unknown:
        raise SettingsError(f"{config}: {unknown[0]}: unknown key; expected one of {', '.join(Settings.model_fields)}")


def _one_line(error: ValidationError) -> str:
    first = error.errors()[0]
    message = str(first["msg"]).removeprefix("Value error, ")
    if not first["loc"]:
        return message  # model validators name the key themselves
    return f"{PREFIX}{str(first['loc'][0]).upper()}: {message}"
