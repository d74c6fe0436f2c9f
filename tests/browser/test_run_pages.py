"""A new run's form and the comparison of runs, in a real browser."""

import pytest
from playwright.sync_api import Page, expect

from app.db import session_scope
from app.models import Metric, Role
from tests.browser.conftest import Site
from tests.factories import make_run

pytestmark = pytest.mark.browser


def test_a_mistake_is_told_at_its_field_while_one_types(site: Site, page: Page) -> None:
    site.sign_in(page, site.account("Rosa", Role.RESEARCHER))
    page.goto(f"{site.url}/runs/new")
    field, fault = page.locator('[id="schedule.initial_labels"]'), page.locator('[id="fault-schedule.initial_labels"]')
    expect(page.locator('[id="help-schedule.initial_labels"]')).to_contain_text("labels")
    field.fill("many")
    expect(fault).to_contain_text("valid integer")
    expect(field).to_have_attribute("aria-invalid", "true")
    field.fill("100000")
    expect(page.locator('[data-fault="schedule"]')).to_contain_text("must not exceed total_labels")
    expect(fault).to_be_hidden()
    field.fill("32")
    expect(page.locator('[data-fault="schedule"]')).to_be_hidden()
    assert field.get_attribute("aria-invalid") is None


def test_runs_stand_on_one_chart_whose_stretch_stays(site: Site, page: Page) -> None:
    site.sign_in(page, site.account("Rosa", Role.RESEARCHER))
    with session_scope(site.factory) as session:
        found = [make_run(session, name=name).id for name in ("one", "other")]
        points = [(run, name, step) for run in found for name in ("score", "kl") for step in (32, 64, 96)]
        session.add_all(
            Metric(run_id=run, name=f"objective/{name}", step=at, value=at / 32) for run, name, at in points
        )
    page.goto(f"{site.url}/runs/compare?run={found[0]}&run={found[1]}")
    expect(page.locator("#compare-plot .trace")).to_have_count(2)
    page.evaluate("Plotly.relayout('compare-plot', {'xaxis.range': [40, 90]})")
    page.get_by_label("Metric", exact=True).select_option("objective/kl")
    expect(page.locator("#compare-plot")).to_contain_text("objective/kl")
    plot = "document.getElementById('compare-plot')"
    assert page.evaluate(f"{plot}.data.map((one) => one.name)") == ["one", "other"]
    assert page.evaluate(f"{plot}.layout.xaxis.range") == [40, 90]
    table = f"/runs/compare.csv?name=objective%2Fkl&run={found[0]}&run={found[1]}"
    expect(page.locator("#compare-data")).to_have_attribute("href", table)
