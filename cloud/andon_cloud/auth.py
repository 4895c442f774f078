"""Who is asking: people with the API token, gateways with their own tokens.

People's tokens open the people's API and the console; a gateway's token opens that gateway's endpoints and the write
endpoint, nothing else.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Path, Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from andon_cloud.identifiers import DnsLabel  # noqa: TC001 - FastAPI reads the annotation at run time
from andon_cloud.problems import Problem
from andon_cloud.registry.tokens import token_hash

if TYPE_CHECKING:
    from pydantic import SecretStr

    from andon_cloud.registry.service import Registry

_people_scheme = HTTPBearer(auto_error=False, description="The API token, when the cloud was started with one")
_gateway_scheme = APIKeyHeader(
    name="Authorization", scheme_name="GatewayToken", auto_error=False, description="`Token {gateway token}`"
)
_GATEWAY_WORDS = {"token", "bearer"}


@dataclass(frozen=True, slots=True)
class Access:
    """Checks tokens."""

    api_token: SecretStr | None
    registry: Registry

    def is_person(self, token: str | None) -> bool:
        """Whether a person with this token may act; without a configured token everyone on this machine may."""
        if self.api_token is None:
            return True
        expected = self.api_token.get_secret_value().encode()
        return token is not None and hmac.compare_digest(token.encode(), expected)

    async def gateway_of(self, authorization: str | None) -> str | None:
        """The gateway that an `Authorization` header belongs to, or None."""
        token = gateway_token(authorization)
        return None if token is None else await self.registry.gateway_of_token(token)


@dataclass(frozen=True, slots=True)
class GatewayIdentity:
    """An authenticated gateway."""

    id: str
    token_hash: str


def gateway_token(authorization: str | None) -> str | None:
    """The token of `Token ...` (InfluxDB's word) or `Bearer ...`, or None."""
    word, _, token = (authorization or "").partition(" ")
    return token.strip() or None if word.lower() in _GATEWAY_WORDS else None


def require_person(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_people_scheme)]
) -> str:
    """Let people in; returns the actor for the audit log.

    Raises:
        Problem: 401.
    """
    access: Access = request.app.state.services.access
    if not access.is_person(credentials.credentials if credentials else None):
        raise Problem(
            401, "Expected the header Authorization: Bearer API_TOKEN.", headers={"WWW-Authenticate": "Bearer"}
        )
    return "api"


async def require_gateway(
    request: Request,
    gateway: Annotated[DnsLabel, Path(examples=["gw-1"])],
    authorization: Annotated[str | None, Security(_gateway_scheme)],
) -> GatewayIdentity:
    """Let the gateway named in the path in.

    Raises:
        Problem: 401 without a known token, 403 with another gateway's.
    """
    access: Access = request.app.state.services.access
    owner = await access.gateway_of(authorization)
    if owner is None:
        raise Problem(
            401, "Expected the header Authorization: Token GATEWAY_TOKEN.", headers={"WWW-Authenticate": "Token"}
        )
    if owner != gateway:
        raise Problem(403, f"This token belongs to another gateway than {gateway}.")
    return GatewayIdentity(gateway, token_hash(gateway_token(authorization) or ""))


Person = Annotated[str, Depends(require_person)]
AuthenticatedGateway = Annotated[GatewayIdentity, Depends(require_gateway)]
