"""The client against a real server on a port: everything comes back typed, nothing is lost or done twice."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import accounts, prompts
from app.client import Client, Lease
from app.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError, UnauthorizedError, UnavailableError
from app.main import create_app
from app.models import Account, Andon, Label, Metric, Role, Run, Scope
from app.settings import Settings
from tests.app.test_simulate import LosingAnswers, serving
from tests.factories import make_account, make_checkpoint, make_comparison, make_run


@pytest.fixture
def boss(session: Session) -> Account:
    return make_account(session, name="Boss", role=Role.RESEARCHER)


@pytest.fixture
def token(session: Session, boss: Account) -> str:
    return accounts.issue_token(session, boss.id, "test")


@pytest.fixture
def run(session: Session) -> Run:
    made = make_run(session)
    for _ in range(3):
        make_comparison(session, made)
    session.add_all(Metric(run_id=made.id, name="objective/kl", step=n, value=n / 2) for n in range(3))
    session.commit()
    return made


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, database_url=database_url, broker_url=None)


@pytest.fixture
def site(settings: Settings, token: str, run: Run) -> Iterator[Client]:
    """The site behind a network that loses every third answer to a POST after the work was done."""
    assert run.id
    with serving(LosingAnswers(create_app(settings)), 0) as url, Client(url, token) as client:
        yield client


def longest(lease: Lease) -> str:
    return str(max(lease.samples, key=lambda sample: (len(sample.text), sample.id)).id)


def test_labeling_from_the_first_to_the_last(site: Client, session: Session, run: Run) -> None:
    assert [one.name for one in site.runs()] == ["stories"]
    given = [site.answer(lease.comparison, "best", longest(lease)) for lease in site.comparisons(run.id, wait=False)]
    assert len({one.label for one in given}) == session.scalar(select(func.count(Label.id))) == 3
    assert site.leases(run.id).progress.mine == 3
    pairs = list(site.labels(run.id, "pairs"))
    assert len(pairs) == 9
    assert all(len(pair["chosen"]) >= len(pair["rejected"]) for pair in pairs)
    back = site.undo(given[0].label)
    with pytest.raises(InvalidError):
        site.answer(back.comparison, "best")
    assert site.answer(back.comparison, "tie", key="k") == site.answer(back.comparison, "tie", key="k")
    with pytest.raises(ConflictError):
        site.answer(back.comparison, "tie", key="another")


def test_the_cord_curves_checkpoints_and_people(site: Client, session: Session, run: Run) -> None:
    assert site.pull_cord(run.id, "nonsense").id == site.pull_cord(run.id, "nonsense").id
    assert session.scalar(select(func.count(Andon.id))) == 1
    assert site.release_cord(run.id, "seen").note == "seen"
    assert [point.value for point in site.metrics(run.id, ["objective/kl"])["objective/kl"].points] == [0, 0.5, 1]
    made = make_checkpoint(session, run, number=1)
    session.commit()
    assert made.id in {one.id for one in site.checkpoints(run.id)}
    assert site.checkpoint(made.id)["checkpoint"]["number"] == 1
    assert site.me().role == "researcher"
    ada = next(one for one in site.people() if one.name == "Boss")
    assert ada.role == "researcher"


def test_runs_are_cloned_compared_and_rolled_back(site: Client, session: Session, run: Run) -> None:
    prompts.import_texts(session, "stories", [f"Story {n}" for n in range(200)])
    policy, run.episodes = make_checkpoint(session, run, number=1, episodes=320), 640
    session.commit()
    made = site.clone_run(run.id, "again", hparams={"seed": 9})
    assert site.compare_runs(run.id, made.id)["differences"] == {"seed": [0, 9]}
    assert site.roll_back(run.id, policy.id, "it repeats itself").episodes == 320


def test_a_run_is_finished(site: Client, run: Run) -> None:
    assert site.finish(run.id, "enough").phase == "finished"


def test_tokens_of_ones_own(site: Client) -> None:
    secret = site.create_token("weak", ["read"], days=1)
    (weak,) = (one for one in site.tokens() if one.name == "weak")
    with Client(site.transport.url, secret) as other:
        assert other.me().scopes == ("read",)
        with pytest.raises(ForbiddenError, match="scope"):
            other.invite()
        site.revoke_token(weak.id)
        with pytest.raises(UnauthorizedError):
            other.me()


def test_what_must_happen_once_is_not_sent_twice(site: Client, session: Session) -> None:
    """Of these every third is lost after the work was done: the client says so instead of doing it again."""
    made = 0
    for number in range(6):
        try:
            site.create_labeler(f"Labeler {number}")
        except UnavailableError:
            continue
        made += 1
    assert made == 4
    assert session.scalar(select(func.count(Account.id)).where(Account.role == Role.LABELER)) == 6


def test_errors_say_what_the_server_says(site: Client, session: Session, run: Run) -> None:
    with pytest.raises(NotFoundError, match="no such run"):
        site.run("00000000-0000-0000-0000-000000000000")
    labeler = accounts.issue_token(session, make_account(session).id, "l", scopes=[Scope.LABEL])
    session.commit()
    with Client(site.transport.url, labeler) as other, pytest.raises(ForbiddenError):
        other.pause(run.id)


def test_patience_ends() -> None:
    with Client("http://127.0.0.1:9", "t", patience_seconds=0.3) as nowhere, pytest.raises(UnavailableError):
        nowhere.runs()
