"""What labelers would not judge, as researchers see it."""

from sqlalchemy.orm import Session

from app import labeling, reports
from app.models import Verdict
from app.reports import SkipReason
from tests.app.test_labeling import lease
from tests.factories import make_account, make_comparison, make_run

TEXTS = (" a.", " b.", " c.", " d.")


def test_flagged_ones_stand_there_until_they_are_put_back(session: Session) -> None:
    run, ada, bob = make_run(session), make_account(session, "Ada"), make_account(session, "Bob")
    elsewhere = make_run(session)
    made = [make_comparison(session, one, texts=TEXTS) for one in (run, run, elsewhere)]
    for one in lease(session, ada, run, 2) + lease(session, ada, elsewhere):
        labeling.flag(session, ada.id, one.comparison_id, f"rude {one.comparison_id}")
    second, first = reports.run_quality(session, run.id).flagged
    assert [one.comparison for one in (first, second)] == [one.id for one in made[:2]]
    assert (first.by, first.reason, first.samples) == ("Ada", f"rude {made[0].id}", TEXTS)
    labeling.unflag(session, made[0].id, ada.id)
    assert [one.comparison for one in reports.run_quality(session, run.id).flagged] == [made[1].id]
    labeling.flag(session, bob.id, lease(session, bob, run)[0].comparison_id, "broken")
    newest = reports.run_quality(session, run.id).flagged[0]
    assert (newest.comparison, newest.by, newest.reason) == (made[0].id, "Bob", "broken")


def test_reasons_to_skip_are_counted_as_they_stand(session: Session) -> None:
    run, ada = make_run(session), make_account(session)
    for number, reason in enumerate(("language: Dutch", "language", None, "other: tired", "too close")):
        make_comparison(session, run)
        got = lease(session, ada, run)[0]
        label = labeling.record(
            session, ada.id, got.comparison_id, verdict=Verdict.SKIP, choice=None, key=f"{number}", reason=reason
        )
    said = labeling.Said(verdict=Verdict.TIE, choice=None)
    labeling.revise(session, ada.id, label.label_id, said, key="after all")
    assert reports.run_quality(session, run.id).skips == (
        SkipReason(reason="language", skips=2),
        SkipReason(reason="other", skips=1),
        SkipReason(reason=None, skips=1),
    )
