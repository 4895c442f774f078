"""Problem details for HTTP APIs (RFC 9457): every error of the API is one, validation included."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fastapi import FastAPI, Request

MEDIA_TYPE = "application/problem+json"


class FieldProblem(BaseModel):
    """One place in the request that is wrong."""

    path: str = Field(examples=["body.lease_s"], description="Where, dotted from the part of the request")
    expected: str = Field(examples=["Input should be less than or equal to 86400"], description="What belongs there")


class ProblemBody(BaseModel):
    """RFC 9457 section 3.1, with the extension member `errors`."""

    type: str = Field(default="about:blank", examples=["about:blank"])
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    detail: str = Field(default="", examples=["There is no machine press-9."])
    errors: list[FieldProblem] = Field(default_factory=list)


class Problem(Exception):  # noqa: N818 - the RFC's own word for what this is
    """An error that the API answers with, told to the person who can mend it."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        errors: Sequence[FieldProblem] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = list(errors)
        self.headers = dict(headers or {})


def not_found(kind: str, identity: str) -> Problem:
    """404 for a thing that is addressed by its id."""
    return Problem(404, f"There is no {kind} {identity}.")


def conflict(detail: str) -> Problem:
    """409: the request contradicts what is already there."""
    return Problem(409, detail)


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's `responses` for these statuses, all with the problem body."""
    schema = {"$ref": "#/components/schemas/ProblemBody"}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: {"schema": schema}}}
        for status in statuses
    }


def problem_response(problem: Problem) -> JSONResponse:
    """Render a problem as RFC 9457 asks."""
    title = HTTPStatus(problem.status).phrase
    body = ProblemBody(title=title, status=problem.status, detail=problem.detail, errors=problem.errors)
    content = body.model_dump(exclude=set() if body.errors else {"errors"})
    return JSONResponse(content, status_code=problem.status, headers=problem.headers, media_type=MEDIA_TYPE)


async def _on_problem(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Problem)  # noqa: S101 - registered for this class only
    return problem_response(error)


async def _on_http_exception(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class only
    return problem_response(Problem(error.status_code, str(error.detail), headers=error.headers))


async def _on_validation_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class only
    found = error.errors()
    fields = [FieldProblem(path=".".join(map(str, item["loc"])), expected=str(item["msg"])) for item in found]
    malformed = any(item["type"] == "json_invalid" for item in found)
    detail = "; ".join(f"{field.path}: {field.expected}" for field in fields)
    return problem_response(Problem(400 if malformed else 422, detail, errors=fields))


async def _on_unexpected(_request: Request, _error: Exception) -> JSONResponse:
    return problem_response(Problem(500, "The cloud failed at this request; its log has the reason."))


def install(app: FastAPI) -> None:
    """Make every error that `app` answers with a problem document."""
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(Exception, _on_unexpected)
