"""What labelers say of the accuracy of summaries, added up by who wrote them, on the run's page and in its report."""

from uuid import UUID, uuid4

import pytest
from bs4 import BeautifulSoup
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from app import exclusions, labeling, reports
from app.hparams import planned
from app.models import Account, Checkpoint, Label, Question, Role, Run, Verdict
from app.reports import Audited
from tests.app.web.conftest import SignIn
from tests.factories import make_account, make_checkpoint, make_comparison, make_run


@pytest.fixture
def run(session: Session) -> Run:
    """Of a task whose labelers are asked how accurate the summary is that they chose."""
    asking = planned("cnndm", {"labeling": {"questions": [Question.ACCURACY, Question.WRONG], "guideline": None}})
    return make_run(session, hparams=asking.model_dump(mode="json"))


def rate(session: Session, run: Run, writer: Checkpoint | None, rating: int, person: Account) -> UUID:
    """A label whose chosen summary got this rating."""
    made = make_comparison(session, run, policy=writer)
    (lease,) = labeling.lease(session, person.id, run.id, count=1, lease_seconds=60)
    assert lease.comparison_id == made.id
    said = {Question.ACCURACY: rating, Question.WRONG: "The year."}
    given = {"verdict": Verdict.BEST, "choice": lease.samples[0][0], "key": str(uuid4()), "answers": said}
    return labeling.record(session, person.id, made.id, **given).label_id  # type: ignore[arg-type]


def test_ratings_that_stand_are_added_up_by_writer(
    client: TestClient, sign_in: SignIn, session: Session, run: Run
) -> None:
    ada, bob, policy = (
        make_account(session, "Ada"),
        make_account(session, "Bob"),
        make_checkpoint(session, run, number=2),
    )
    for rating in (7, 2):
        rate(session, run, None, rating, ada)
    for rating in (6, 7, 3, 4):
        rate(session, run, policy, rating, ada)
    assert reports.audit(session, run.id) == (
        Audited(writer="policy 2", summaries=4, mean=5.0, accurate=2),
        Audited(writer="reference", summaries=2, mean=4.5, accurate=1),
    )
    label_id = rate(session, run, policy, 1, ada)
    chosen = session.get_one(Label, label_id).chosen_sample_id
    better = labeling.Said(verdict=Verdict.BEST, choice=chosen, answers={Question.ACCURACY: 5})
    labeling.revise(session, ada.id, label_id, better, key="again")
    rate(session, run, policy, 1, bob)
    exclusions.exclude(session, run.id, bob.id, None, "guesses")
    of_policy = Audited(writer="policy 2", summaries=5, mean=5.0, accurate=2)
    assert reports.audit(session, run.id)[0] == of_policy, "what was revised or is left out does not count"

    sign_in(client, Role.RESEARCHER, "Rosa")
    for path in (f"/runs/{run.id}", f"/runs/{run.id}/report"):
        page = BeautifulSoup(client.get(path).text, "html.parser")
        rows = page.select('section[aria-labelledby="audit-title"] tbody tr')
        assert [[cell.text for cell in row.find_all(["th", "td"])] for row in rows] == [
            ["policy 2", "5", "5.0", "2"],
            ["reference", "2", "4.5", "1"],
        ]
