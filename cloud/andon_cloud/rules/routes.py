"""REST of the rules: people put and get them under /api/v1/rules, gateways pull them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Header, Query, Response

from andon_cloud.auth import AuthenticatedGateway, Person
from andon_cloud.problems import Problem, responses
from andon_cloud.rules.schemas import RulesIn, RulesOut, RulesStatus, RulesStatusOut
from andon_cloud.rules.service import NO_DOCUMENT_ETAG
from andon_cloud.services import Wired

if TYPE_CHECKING:
    from andon_cloud.rules.models import RuleDocument

router = APIRouter(prefix="/api/v1", tags=["rules"], responses=responses(401, 422))
channel = APIRouter(prefix="/api/v1/gateways/{gateway}", tags=["gateway channel"], responses=responses(401, 403, 422))


@router.get("/rules", response_model=RulesOut, response_model_exclude_unset=True, responses=responses(404))
async def get_rules(
    services: Wired,
    response: Response,
    _actor: Person,
    version: Annotated[int | None, Query(ge=1, description="An earlier version; absent: the one in force")] = None,
) -> RulesOut:
    """The rules in force, with their ETag; before the first ones version 0 and no rules."""
    found = await services.rules.get(version)
    if found is None and version is not None:
        raise Problem(404, f"There is no version {version} of the rules.")
    response.headers["ETag"] = found.etag if found else NO_DOCUMENT_ETAG
    return _out(found) if found else RulesOut(version=0, rules=[], actor="", created_ms=0)


@router.put("/rules", response_model=RulesOut, response_model_exclude_unset=True, responses=responses(412, 428))
async def put_rules(
    wanted: RulesIn,
    services: Wired,
    response: Response,
    actor: Person,
    if_match: Annotated[str | None, Header(description="ETag of the version that you have edited")] = None,
) -> RulesOut:
    """Put a new version of all rules in force. Gateways pull it at once; one that is away does when it comes back."""
    row = await services.rules.put(wanted, if_match=if_match, actor=actor)
    response.headers["ETag"] = row.etag
    return _out(row)


@channel.get(
    "/rules",
    response_class=Response,
    responses={
        200: {"description": "The document", "content": {"application/json": {"example": {"version": 3, "rules": []}}}},
        304: {"description": "The gateway has it"},
        **responses(404),
    },
)
async def pull_rules(
    _identity: AuthenticatedGateway, services: Wired, if_none_match: Annotated[str | None, Header()] = None
) -> Response:
    """The rules in force, as gateways take them; the stream's `rules` event says when there are others."""
    found = await services.rules.get()
    if found is None:
        raise Problem(404, "There are no rules yet; put some with PUT /api/v1/rules.")
    if if_none_match == found.etag:
        return Response(status_code=304, headers={"ETag": found.etag})
    return Response(found.document, media_type="application/json", headers={"ETag": found.etag})


@channel.put("/rules/status", status_code=204)
async def tell_rules_status(identity: AuthenticatedGateway, status: RulesStatus, services: Wired) -> None:
    """Tell which version is in force at the gateway, and why a newer one is not."""
    await services.rules.tell(identity.id, status)


@router.get("/rules/gateways")
async def list_rules_in_force(services: Wired, _actor: Person) -> list[RulesStatusOut]:
    """Which version each gateway has in force, as it last told."""
    return await services.rules.in_force()


def _out(row: RuleDocument) -> RulesOut:
    document = RulesIn.model_validate_json(row.document)
    return RulesOut(version=row.version, rules=document.rules, actor=row.actor, created_ms=row.created_ms)
