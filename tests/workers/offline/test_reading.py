"""A journal that contradicts itself is refused with its line, whatever was changed in it."""

from pathlib import Path

import pytest

from app.errors import InvalidError
from app.hparams import preset
from app.kinds import Split, Verdict
from workers.offline import events
from workers.offline.events import AnyEvent
from workers.offline.journal import Journal
from workers.offline.reading import read_ledger

BEGAN = events.Began(hparams=preset("sentiment-small"), base_model="m", labeler="longest", noise=0.0)
IMPORTED = events.Imported(digest="d")


def compared(policy: int | None = None, samples: int = 4) -> events.Compared:
    drawn = tuple(events.Drawn(text=str(i), tokens=(i,)) for i in range(samples))
    return events.Compared(prompt="p", split=Split.TRAIN, policy=policy, promotion=0, reward_model=None, samples=drawn)


def sampled(one: events.Compared) -> events.Sampled:
    return events.Sampled(comparisons=(one,), given_up=0)


def trained(update: int, reward_model: int = 0) -> events.Trained:
    stats = {"objective/kl": 1.0, "objective/valid_fraction": 1.0}
    return events.Trained(
        state_digest="s", policy_digest="p", reward_model=reward_model, update=update, kl_coef=0.1, stats=(stats,)
    )


SAMPLED, LABELED = sampled(compared()), events.Labeled(comparison=0, verdict=Verdict.BEST, best=3)
REWARDED = events.Rewarded(digest="r", labels=(0,), report={})
GOOD: list[AnyEvent] = [BEGAN, IMPORTED, SAMPLED, LABELED, REWARDED, trained(1), events.Promoted()]


def journal(folder: Path, happened: list[AnyEvent]) -> Journal:
    made = Journal(folder)
    made.append(happened)
    return made


def test_what_happened_is_believed(tmp_path: Path) -> None:
    made = journal(tmp_path, [*GOOD, trained(2), events.Lost(reason="a flipped bit"), trained(2)])
    ledger = read_ledger(made)
    made.close()
    assert ledger.serving == 0
    assert [one.update for one in ledger.trainings] == [1, 2]
    assert ledger.episodes == 2 * BEGAN.hparams.ppo.batch


@pytest.mark.parametrize(
    ("line", "event", "said"),
    [
        (
            4,
            events.Labeled(comparison=0, verdict=Verdict.BEST, best=7),
            "`best` is 7, but comparison 0 has samples 0 to 3",
        ),
        (4, events.Labeled(comparison=0, verdict=Verdict.BEST, best=-1), "`best` is -1"),
        (4, events.Labeled(comparison=0, verdict=Verdict.BEST, best=None), "`best` is given for the verdict"),
        (4, events.Labeled(comparison=0, verdict=Verdict.TIE, best=1), "`best` is given for the verdict"),
        (4, events.Labeled(comparison=1, verdict=Verdict.TIE, best=None), "no comparison 1 yet"),
        (4, events.Scored(reward_model=0, scores={2: (1.0,)}), "no comparison 2 yet"),
        (4, events.Scored(reward_model=0, scores={0: (1.0, 2.0)}), "comparison 0 has 4 samples, not 2"),
        (4, REWARDED, "comparison 0 has no label yet"),
        (5, trained(1), "no reward model 0 yet"),
        (6, trained(2), "0 updates and 1 more do not make 2"),
        (7, trained(1), "1 updates and 1 more do not make 1"),
        (5, events.Promoted(), "no policy is a candidate"),
        (8, events.Held(reason="high KL"), "no policy is a candidate"),
        (3, events.Lost(reason="?"), "no PPO job was done"),
        (3, sampled(compared(policy=0)), "no policy 0 yet"),
        (3, sampled(compared(samples=1)), "two samples or more"),
        (7, events.Judged(policy=1, reward=(0, 0, 0), kl=(0, 0, 0), score=0), "no policy 1 yet"),
        (1, IMPORTED, "begins once, with its first line"),
        (3, BEGAN, "begins once, with its first line"),
    ],
)
def test_what_cannot_have_happened_is_refused_with_its_line(
    tmp_path: Path, line: int, event: AnyEvent, said: str
) -> None:
    made = journal(tmp_path, [*GOOD[: line - 1], event, *GOOD[line:]])
    with pytest.raises(InvalidError, match=rf"journal\.jsonl, line {line}: .*{said}.*Put the file back"):
        read_ledger(made)
    made.close()
