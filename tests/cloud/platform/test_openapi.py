"""The OpenAPI document: complete, consistent, and its examples are true."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from andon_cloud.app import create_app
from andon_cloud.settings import load

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def document(tmp_path: Path) -> dict[str, Any]:
    found: dict[str, Any] = create_app(load(data_dir=tmp_path, console=False)).openapi()
    return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    found = set(references(document))
    assert found
    assert {name.removeprefix("#/components/schemas/") for name in found} <= schemas.keys()


def test_every_operation_is_described_and_tagged(document: dict[str, Any]) -> None:
    tags = {tag["name"] for tag in document["tags"]}
    for name, operation in operations(document):
        assert operation.get("summary"), name
        assert set(operation["tags"]) <= tags, name


def test_every_error_of_the_api_is_a_problem(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        if "/api/v1/" in name:
            errors = {status: answer for status, answer in operation["responses"].items() if status >= "400"}
            assert {"401", "422"} <= errors.keys(), name
            for answer in errors.values():
                assert set(answer["content"]) == {"application/problem+json"}, name


def test_the_schemas_examples_hold(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    checked = 0
    for name, schema in schemas.items():
        for example in schema.get("examples", []):
            validator = jsonschema.Draft202012Validator(
                {"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}}
            )
            validator.validate(example)
            checked += 1
    assert checked >= 9
