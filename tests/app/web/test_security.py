"""Other sites cannot act in a signed-in person's name, and pages run our scripts only."""

import pytest
from fastapi.testclient import TestClient

from app.main import create_app
from app.models import Role
from app.settings import Settings
from tests.app.web.conftest import SignIn

FOREIGN = [
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"sec-fetch-site": "cross-site", "origin": "http://testserver"},
]
OURS = [{}, {"sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}, {"origin": "http://testserver"}]


@pytest.mark.parametrize("headers", FOREIGN)
def test_a_change_asked_for_by_another_site_is_refused(client: TestClient, headers: dict[str, str]) -> None:
    assert client.post("/signout", headers=headers).status_code == 403


@pytest.mark.parametrize("headers", OURS)
def test_a_change_asked_for_by_our_pages_or_by_no_browser_passes(client: TestClient, headers: dict[str, str]) -> None:
    assert client.post("/signout", headers=headers).status_code == 303


def test_looking_is_allowed_from_anywhere(client: TestClient) -> None:
    assert client.get("/", headers={"sec-fetch-site": "cross-site"}).status_code == 303


def test_a_bearer_token_carries_its_own_proof(client: TestClient) -> None:
    headers = {"sec-fetch-site": "cross-site", "authorization": "Bearer x"}
    assert client.post("/signout", headers=headers).status_code == 303


def test_behind_a_proxy_the_public_address_is_ours(settings: Settings) -> None:
    changed = settings.model_copy(update={"public_url": "https://label.example/"})
    with TestClient(create_app(changed), follow_redirects=False) as client:
        assert client.post("/signout", headers={"origin": "https://label.example"}).status_code == 303
        assert client.post("/signout", headers={"origin": "https://evil.example"}).status_code == 403


def test_scripts_run_from_our_own_files_only(client: TestClient) -> None:
    policy = client.get("/signin").headers["content-security-policy"]
    directives = {name: values for name, *values in (part.split() for part in policy.split(";"))}
    assert directives["script-src"] == ["'self'"]
    assert directives["default-src"] == ["'none'"]
    assert directives["frame-ancestors"] == ["'none'"]


def test_errors_under_api_are_problem_details(client: TestClient) -> None:
    answer = client.get("/api/v1/nothing-here")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == answer.status_code == 404


def test_errors_elsewhere_are_pages(client: TestClient) -> None:
    answer = client.get("/nothing-here")
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")


def test_a_body_beyond_the_limit_is_refused_before_it_is_read_and_uploads_say_their_own(
    client: TestClient, sign_in: SignIn
) -> None:
    sign_in(client, Role.RESEARCHER)
    big = b"{" + b" " * (3 * 2**20)
    refused = client.post("/api/v1/runs", content=big, headers={"content-type": "application/json"})
    assert (refused.status_code, refused.headers["content-type"]) == (413, "application/problem+json")
    assert client.post("/api/v1/uploads", params={"name": "a.jsonl"}, content=big).status_code == 201


def test_what_belongs_to_a_person_is_kept_by_no_cache(client: TestClient, sign_in: SignIn) -> None:
    sign_in(client)
    for path in ("/me", "/api/v1/me", "/label"):
        assert client.get(path).headers["cache-control"] == "no-store"


def test_browsers_are_told_to_stay_with_https_where_there_is_https(settings: Settings) -> None:
    https = create_app(settings.model_copy(update={"public_url": "https://label.example"}))
    with TestClient(https, base_url="https://label.example") as client:
        assert client.get("/signin").headers["strict-transport-security"] == "max-age=31536000"
    with TestClient(create_app(settings)) as client:
        assert "strict-transport-security" not in client.get("/signin").headers


def test_nothing_about_the_server_is_told(client: TestClient) -> None:
    headers = client.get("/signin").headers
    assert {"server", "x-powered-by"}.isdisjoint(headers)
    assert headers["x-content-type-options"] == "nosniff"
