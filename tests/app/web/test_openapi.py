"""The OpenAPI document: complete, and true of every answer that thousands of generated requests get."""

import zlib
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import hypothesis
import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from sqlalchemy.orm import Session

from app import accounts, labeling, prompts
from app.models import CheckpointKind, Metric, Role, Verdict
from tests.factories import make_account, make_checkpoint, make_comparison, make_run

SEED = 20190918
EXAMPLES = 6
"""Requests per operation."""
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


def document(site: FastAPI) -> dict[str, Any]:
    found: dict[str, Any] = site.openapi()
    return found


def operations(site: FastAPI) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document(site)["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def test_every_operation_is_described(site: FastAPI) -> None:
    names = [operation["operationId"] for _, _, operation in operations(site)]
    assert len(names) == len(set(names)), "each has its own name"
    for path, method, operation in operations(site):
        assert operation["summary"], (path, method)
        assert "scope" in operation["description"], (path, method)
        failures = {status: answer for status, answer in operation["responses"].items() if int(status) >= 400}
        assert {"401", "403", "503"} <= set(failures), (path, method)
        for answer in failures.values():
            assert list(answer["content"]) == ["application/problem+json"], (path, method)


def test_the_words_of_the_old_kind_of_error_are_gone(site: FastAPI) -> None:
    assert "HTTPValidationError" not in str(document(site))


@pytest.fixture
def known(session: Session) -> dict[str, list[str]]:
    """A run with something of everything; values for each path parameter."""
    boss = make_account(session, name="Boss", role=Role.OPERATOR)
    run = make_run(session)
    prompts.import_texts(session, "stories", [f"Story {n}" for n in range(200)])
    for _ in range(12):
        make_comparison(session, run)
    policy = make_checkpoint(session, run, number=1)
    reward_model = make_checkpoint(session, run, kind=CheckpointKind.REWARD_MODEL, number=1)
    session.add_all(Metric(run_id=run.id, name="objective/kl", step=n, value=n / 2) for n in range(8))
    leases = labeling.lease(session, boss.id, run.id, count=8, lease_seconds=600)
    labels = [
        labeling.record(
            session, boss.id, lease.comparison_id, verdict=Verdict.BEST, choice=lease.samples[0][0], key=str(uuid4())
        )
        for lease in leases[:4]
    ]
    session.commit()
    return {
        "run_id": [str(run.id)],
        "comparison_id": [str(lease.comparison_id) for lease in leases],
        "label_id": [str(label.label_id) for label in labels],
        "checkpoint_id": [str(policy.id), str(reward_model.id)],
        "account_id": [str(make_account(session).id)],
        "boss": [str(boss.id)],
    }


@pytest.mark.parametrize("role", [Role.RESEARCHER])
def test_no_generated_request_breaks_the_server_or_the_document(
    site: FastAPI, session: Session, known: dict[str, list[str]], role: Role
) -> None:
    me = make_account(session, name="Schemathesis", role=role)
    token = accounts.issue_token(session, me.id, "test")
    session.commit()
    schema = schemathesis.openapi.from_asgi("/api/v1/openapi.json", site)
    tried: dict[str, set[int]] = {}

    @schema.hook("map_path_parameters")
    def real_ids(context: Any, path_parameters: dict[str, Any] | None) -> dict[str, Any] | None:
        """Three of four ids are of things that are there, or nothing but 404 would be seen."""
        del context
        chosen = dict(path_parameters or {})
        for name, values in known.items():
            drawn = zlib.crc32(str(chosen.get(name)).encode())
            if name in chosen and drawn % 4:
                chosen[name] = values[drawn // 4 % len(values)]
        return chosen if path_parameters is not None else None

    for found in schema.get_all_operations():
        assert isinstance(found, Ok), found
        operation = found.ok()

        @hypothesis.seed(SEED)
        @hypothesis.settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @hypothesis.given(case=operation.as_strategy())
        def holds(case: Any) -> None:
            answer = case.call_and_validate(headers={"Authorization": f"Bearer {token}"}, checks=CHECKS)
            tried.setdefault(case.operation.label, set()).add(answer.status_code)

        holds()
    assert len(tried) == sum(1 for _ in operations(site))
    fruitless = {label for label, statuses in tried.items() if not any(status < 300 for status in statuses)}
    assert len(fruitless) < len(tried) / 2, f"never succeeded: {sorted(fruitless)}"
