"""Looking through samples: two writers side by side, every condition, pages."""

from uuid import UUID, uuid4

import pytest
from sqlalchemy.orm import Session

from app import labeling, reports
from app.kinds import Split, Verdict
from app.models import Checkpoint, CheckpointKind, Prompt, Run, Sample, SamplePurpose, SampleReading, SampleScore
from app.reports import Labeled, Order, SampleQuery
from tests.factories import make_account, make_checkpoint, make_comparison, make_prompt, make_run, make_sample


@pytest.fixture
def run(session: Session) -> Run:
    made = make_run(session)
    made.reward_model_id = make_checkpoint(session, made, kind=CheckpointKind.REWARD_MODEL).id
    return made


@pytest.fixture
def policy(session: Session, run: Run) -> Checkpoint:
    return make_checkpoint(session, run, number=3)


def score(session: Session, run: Run, sample: Sample, value: float, *, kl: float | None = None) -> None:
    session.add(SampleScore(sample_id=sample.id, reward_model_id=run.reward_model_id, score=value))
    if kl is not None:
        first, second = kl / 4, kl * 3 / 4
        session.add(
            SampleReading(sample_id=sample.id, kl=kl, token_kl=[first, second], token_ends=[2, len(sample.text)])
        )
    session.flush()


def texts(session: Session, run: Run, **conditions: object) -> list[str]:
    """Texts of the samples that meet the conditions, in the order of the page."""
    page = reports.browse(session, run, SampleQuery(**conditions))  # type: ignore[arg-type]
    return [one.text for prompt in page.prompts for column in prompt.columns for one in column if one.found]


def test_two_writers_stand_side_by_side_on_the_prompts_that_both_answered(
    session: Session, run: Run, policy: Checkpoint
) -> None:
    both, alone = make_prompt(session, split=Split.TEST), make_prompt(session)
    make_sample(session, run, both, text=" of the reference")
    make_sample(session, run, both, text=" of the policy", policy=policy)
    make_sample(session, run, alone, text=" alone", policy=policy)
    page = reports.browse(session, run, SampleQuery(left=policy.id, right=run.reference_id))
    assert [prompt.id for prompt in page.prompts] == [both.id]
    left, right = page.prompts[0].columns
    assert ([one.writer for one in left], [one.writer for one in right]) == (["policy 3"], ["reference"])
    assert sorted(texts(session, run, left=policy.id)) == [" alone", " of the policy"]
    assert len(texts(session, run)) == 3
    assert reports.writers(session, run.id) == [(policy.id, "policy 3"), (run.reference_id, "reference")]


def test_what_meets_the_conditions_brings_the_other_side_along(session: Session, run: Run, policy: Checkpoint) -> None:
    prompt = make_prompt(session)
    make_sample(session, run, prompt, text=" a green door")
    make_sample(session, run, prompt, text=" a red door", policy=policy)
    page = reports.browse(session, run, SampleQuery(left=policy.id, right=run.reference_id, words="RED"))
    left, right = page.prompts[0].columns
    assert [(one.text, one.found) for one in (*left, *right)] == [(" a red door", True), (" a green door", False)]


def test_words_scores_kl_splits_and_validity(session: Session, run: Run) -> None:
    train, test = make_prompt(session, text="100% of it"), make_prompt(session, text="100 of it", split=Split.TEST)
    low, high = make_sample(session, run, train, text=" low"), make_sample(session, run, test, text=" high")
    high.valid = False
    make_sample(session, run, train, text=" unknown")
    score(session, run, low, -1.0, kl=2.0)
    score(session, run, high, 1.5, kl=9.0)
    assert sorted(texts(session, run, words="100%")) == [" low", " unknown"]  # a percent sign is no wildcard
    assert texts(session, run, score_from=0.0) == [" high"]
    assert texts(session, run, score_to=0.0) == [" low"]
    assert texts(session, run, kl_from=1.0, kl_to=3.0) == [" low"]
    assert texts(session, run, split=Split.TEST) == texts(session, run, valid=False) == [" high"]
    assert (
        texts(session, run, order=Order.HIGHEST_SCORE)[0] == texts(session, run, order=Order.HIGHEST_KL)[0] == " high"
    )
    assert texts(session, run, order=Order.LOWEST_SCORE)[0] == " low"
    found = reports.browse(session, run, SampleQuery(score_from=0.0)).prompts[0].columns[0][0]
    assert [(token.text, token.kl) for token in found.tokens] == [(" h", 2.25), ("igh", 6.75)]


def test_tokens_that_end_no_character_add_up_to_the_one_that_does(session: Session, run: Run) -> None:
    sample = make_sample(session, run, make_prompt(session), text="€.")
    reading = {"token_kl": [1.0, 2.0, 4.0, 8.0], "token_ends": [0, 0, 1, 2]}
    session.add(SampleReading(sample_id=sample.id, kl=15.0, **reading))
    session.flush()
    found = reports.browse(session, run, SampleQuery()).prompts[0].columns[0][0]
    assert [(token.text, token.kl) for token in found.tokens] == [("€", 7.0), (".", 8.0)]


def test_labels_are_told_and_looked_for(session: Session, run: Run) -> None:
    compared = make_comparison(session, run, texts=(" one", " two", " three", " four"))
    make_sample(session, run, session.get_one(Prompt, compared.prompt_id), text=" never shown")
    ada = make_account(session)
    (lease,) = labeling.lease(session, ada.id, run.id, count=1, lease_seconds=60)
    best = next(id_ for id_, text in lease.samples if text == " two")
    labeling.record(session, ada.id, compared.id, verdict=Verdict.BEST, choice=best, key=str(uuid4()))
    assert texts(session, run, labeled=Labeled.CHOSEN) == [" two"]
    assert sorted(texts(session, run, labeled=Labeled.PASSED_OVER)) == [" four", " one", " three"]
    assert len(texts(session, run, labeled=Labeled.LABELED)) == 4
    assert texts(session, run, labeled=Labeled.UNLABELED) == [" never shown"]
    (chosen,) = (
        one
        for one in reports.browse(session, run, SampleQuery(labeled=Labeled.CHOSEN)).prompts[0].columns[0]
        if one.found
    )
    assert [(said.labeler, said.verdict, said.chosen) for said in chosen.said] == [("Ada", Verdict.BEST, True)]


def test_pages_hold_every_prompt_once(session: Session, run: Run) -> None:
    made = {make_sample(session, run, make_prompt(session)).prompt_id for _ in range(45)}
    seen: list[UUID] = []
    for number, more in ((1, True), (2, True), (3, False), (4, False)):
        page = reports.browse(session, run, SampleQuery(page=number))
        assert page.more is more
        seen += [prompt.id for prompt in page.prompts]
    assert (set(seen), len(seen)) == (made, 45)


def test_texts_of_people_are_nobodys_samples(session: Session, run: Run) -> None:
    text = make_sample(session, run, make_prompt(session), text=" by hand")
    text.purpose, text.logprobs = SamplePurpose.CONTEST, []
    session.flush()
    assert texts(session, run) == []
