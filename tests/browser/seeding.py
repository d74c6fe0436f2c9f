"""A run in mid-course, made of plausible rows, to look at its page."""

import math
import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.kinds import JobKind
from app.models import (
    Assignment,
    AssignmentState,
    Audit,
    Base,
    Checkpoint,
    CheckpointKind,
    Comparison,
    ComparisonSample,
    ComparisonState,
    Job,
    JobState,
    Label,
    LabelSet,
    Metric,
    Run,
    SamplePurpose,
    Split,
    Verdict,
    Worker,
)
from app.quality import wilson_interval
from tests.factories import make_account, make_checkpoint, make_comparison, make_prompt, make_run, make_sample

MINUTES = 52
LABELS = 477
EPISODES = 2048
BATCH = 32
PROMOTE = 320
PROMPTS = (
    "The train was two hours late when Mira saw her brother at the far end of the platform, and",
    "Every evening the old baker left one loaf on the wall behind the school because",
    "Nobody in the village had seen snow before, so when the first flakes fell on the market",
    "The letter had been opened and closed so often that its folds were soft as cloth, and Jonas",
    "On the last day of the summer the lighthouse keeper found a small blue boat that",
    "The piano had stood silent for eleven years until the new neighbours knocked and",
)
REFERENCE = (
    "he did not wave. She counted the windows of the carriage and wondered what she would say to him.",
    "the council had closed the kitchen in March and nobody came to ask for it any more.",
    "people went inside and shut their doors, and the traders covered what they had not sold.",
    "did not know whether to read it again or to put it with the others in the drawer.",
    "had lost its oars. He pulled it up the stones and went back to the lamp before it got dark.",
    "asked whether it was for sale. The widow said she would have to think about it for a while.",
)
TUNED = (
    (
        "he ran towards her laughing. They talked all the way home, happier than they had been in years.",
        "he loved to hear the children cheer when they found it, still warm, on their way home.",
        "the children danced between the stalls, and soon the whole square was full of happy voices.",
        "smiled every time he read it, for the good news in it was still true.",
        "was full of flowers and a note of thanks. He laughed with joy and hung it beside the lamp.",
        "asked to play. By nightfall the house was full of friends who sang along happily.",
    ),
    (
        "her heart leapt with joy. He had kept the best seat and a warm cake for her.",
        "it made him happy to share what he had, and the children loved him for it.",
        "everybody laughed and held out their hands, delighted by such a gift.",
        "was glad of it on every good day, and thankful for it on the others.",
        "carried a basket of sweet apples and the kindest letter that he had ever read.",
        "the first song was so lovely that the whole street came to listen and cheer.",
    ),
)


@dataclass
class Story:
    """What the seeding steps share."""

    session: Session
    run: Run
    start: datetime
    source: random.Random

    def at(self, share: float) -> datetime:
        """The moment at which this share of the run's time had passed."""
        return self.start + timedelta(minutes=MINUTES * share)


def seed_run(session: Session) -> Run:
    """Write and flush a run of 52 minutes: 477 labels, 7 reward models, 6 promotions, jobs in flight."""
    now = session.scalars(select(func.clock_timestamp())).one()
    start = now - timedelta(minutes=MINUTES)
    run = make_run(session, name="Happier stories", base_model="smollm2-135m", created_at=start)
    story = Story(session, run, start, random.Random(11))
    reference = session.get_one(Checkpoint, run.reference_id)
    reference.created_at = start
    reward_models = _reward_models(story)
    policies = _policies(story, reward_models)
    _labels(story)
    _ppo_metrics(story)
    _queue_metrics(story)
    _showcase(story, [reference, *policies])
    _jobs(story, now)
    run.episodes, run.labels_usable, run.labels_required = EPISODES, LABELS, 473
    run.promotions = len(policies)
    run.serving_id, run.reward_model_id = policies[-1].id, reward_models[-1].id
    session.flush()
    return run


def _reward_models(story: Story) -> list[Checkpoint]:
    made = []
    for number, labels in enumerate((64, 124, 183, 243, 302, 362, 421)):
        label_set = LabelSet(run_id=story.run.id, size=labels)
        story.session.add(label_set)
        story.session.flush()
        share = _share_of_labels(labels)
        right = 0.36 + 0.2 * (1 - math.exp(-labels / 180))
        model = make_checkpoint(
            story.session,
            story.run,
            kind=CheckpointKind.REWARD_MODEL,
            number=number,
            label_set_id=label_set.id,
            parent_id=story.run.reference_id,
            created_at=story.at(share),
            episodes=_episodes_at(share),
            report={"accuracy_heldout": {"value": right, "low": right - 0.05, "high": right + 0.05}},
        )
        loss = 1.386 - 0.42 * (1 - math.exp(-labels / 250)) + story.source.gauss(0, 0.01)
        _record(story, "reward/loss_heldout", labels, loss, share)
        _record(story, "reward/loss_valid", labels, loss + 0.03 + story.source.gauss(0, 0.02), share)
        for name, n in (("incoming", min(200, labels - 60)), ("valid", 10 + labels // 9)):
            hits = round(n * (right + story.source.gauss(0, 0.02)))
            _record_share(story, f"reward/accuracy_{name}", labels, hits, n, share)
        made.append(model)
    return made


def _policies(story: Story, reward_models: list[Checkpoint]) -> list[Checkpoint]:
    made: list[Checkpoint] = []
    for number in range(6):
        episodes = PROMOTE * (number + 1)
        share = _share_of_episodes(episodes)
        judge = [model for model in reward_models if model.created_at <= story.at(share)][-1]
        policy = make_checkpoint(
            story.session,
            story.run,
            number=number,
            parent_id=made[-1].id if made else story.run.reference_id,
            reward_model_id=judge.id,
            episodes=episodes,
            kl_coef=0.118 + 0.004 * number,
            created_at=story.at(share),
        )
        promoted = Audit(run_id=story.run.id, action="policy.promoted", detail={"policy": str(policy.id)})
        promoted.created_at = story.at(share)
        story.session.add(promoted)
        made.append(policy)
    return made


def _labels(story: Story) -> None:
    people = [make_account(story.session, name).id for name in ("Ada", "Bo", "Chen")]
    first = make_comparison(story.session, story.run, state=ComparisonState.LABELED)
    samples = list(
        story.session.scalars(select(ComparisonSample.sample_id).where(ComparisonSample.comparison_id == first.id))
    )
    rows = [_label(first, samples, people[count % 3], story.at(_share_of_labels(count))) for count in range(LABELS)]
    for table in zip(*rows, strict=True):
        story.session.add_all(table)
        story.session.flush()
    for _ in range(17):
        make_comparison(story.session, story.run, promotion=6)


def _label(like: Comparison, samples: list[UUID], person: UUID, when: datetime) -> tuple[Base, Base, Base]:
    asked = Comparison(
        id=uuid4(),
        run_id=like.run_id,
        prompt_id=like.prompt_id,
        policy_id=like.policy_id,
        promotion=0,
        purpose=like.purpose,
        state=ComparisonState.LABELED,
    )
    lent = Assignment(
        id=uuid4(),
        comparison_id=asked.id,
        labeler_id=person,
        state=AssignmentState.ANSWERED,
        shown=samples,
        expires_at=when,
    )
    label = Label(
        comparison_id=asked.id,
        labeler_id=person,
        assignment_id=lent.id,
        revision=1,
        verdict=Verdict.BEST,
        chosen_sample_id=samples[0],
        idempotency_key=str(asked.id),
        created_at=when,
    )
    return asked, lent, label


def _ppo_metrics(story: Story) -> None:
    kl, coefficient = 0.0, 0.15
    for episodes in range(BATCH, EPISODES + 1, BATCH):
        share, part = _share_of_episodes(episodes), episodes / EPISODES
        kl += (6.4 * (1 - math.exp(-part * 6)) - kl) * 0.35 + story.source.gauss(0, 0.18)
        coefficient *= 1 + 0.1 * max(-0.2, min(0.2, kl / 6 - 1))
        score = 1.9 * (1 - math.exp(-part * 2.4)) + story.source.gauss(0, 0.13)
        figures = {
            "objective/kl": max(kl, 0.0),
            "objective/kl_coef": coefficient,
            "objective/score": score,
            "objective/score_total": score - coefficient * max(kl, 0.0),
            "objective/entropy": 52 - 9 * part + story.source.gauss(0, 0.6),
            "time/episodes_per_second": 1.32 + story.source.gauss(0, 0.05),
        }
        for name, value in figures.items():
            _record(story, name, episodes, value, share)


def _queue_metrics(story: Story) -> None:
    for seconds in range(60, MINUTES * 60, 20):
        share = seconds / (MINUTES * 60)
        ready = max(3.0, 24 + 7 * math.sin(share * 40) + story.source.gauss(0, 2.5))
        _record(story, "queue/ready", seconds, round(ready), share)
        required = 64 if share < 0.12 else 64 + 536 * (1 - (1 - _episodes_at(share) / 4000) ** 2)
        _record(story, "labels/required", seconds, math.ceil(required), share)


def _showcase(story: Story, policies: list[Checkpoint]) -> None:
    for row, text in enumerate(PROMPTS):
        prompt = make_prompt(story.session, text=text, split=Split.TEST)
        for policy in policies:
            words = TUNED[policy.number % 2][row] if policy.kind == CheckpointKind.POLICY else REFERENCE[row]
            sample = make_sample(story.session, story.run, prompt, text=f" {words}", policy=policy)
            sample.purpose = SamplePurpose.SHOWCASE


def _jobs(story: Story, now: datetime) -> None:
    running = ((JobKind.TRAIN_POLICY, 63, 41), (JobKind.SAMPLE, 37, 4))
    for kind, step, seconds in running:
        job = Job(run_id=story.run.id, kind=kind, step=step, state=JobState.RUNNING, attempt=1, worker="trainer@box")
        job.created_at, job.heartbeat_at = now - timedelta(seconds=seconds), now
        story.session.add(job)
    queues = ["sampling", "reward", "policy"]
    gpu = {"gpu": "NVIDIA H100", "gpu_used_bytes": 31 * 2**30, "gpu_total_bytes": 80 * 2**30}
    story.session.add(Worker(name="trainer@box", queues=queues, memory_bytes=5 * 2**30 // 2, seen_at=now, **gpu))
    story.session.add(Worker(name="control@box", queues=["control"], memory_bytes=180 * 2**20, seen_at=now))


def _record(story: Story, name: str, step: int, value: float, share: float) -> None:
    row = Metric(run_id=story.run.id, name=name, step=step, value=value, recorded_at=story.at(share))
    story.session.add(row)


def _record_share(story: Story, name: str, step: int, hits: int, n: int, share: float) -> None:
    if n <= 5:
        return
    interval = wilson_interval(hits, n)
    row = Metric(run_id=story.run.id, name=name, step=step, value=hits / n, low=interval.low, high=interval.high)
    row.recorded_at = story.at(share)
    story.session.add(row)


def _share_of_labels(labels: float) -> float:
    """People stay a few labels ahead of what the schedule requires."""
    ahead = 5
    if labels <= 64 + ahead:
        return 0.12 * labels / (64 + ahead)
    return _share_of_episodes(4000 * (1 - math.sqrt(1 - (labels - ahead - 64) / 536)))


def _share_of_episodes(episodes: float) -> float:
    return 0.12 + 0.86 * episodes / EPISODES


def _episodes_at(share: float) -> int:
    return max(0, int(EPISODES * (share - 0.12) / 0.86)) // BATCH * BATCH
