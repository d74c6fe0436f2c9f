"""Presets: the four tasks in the paper's and the released configuration, and small ones for a laptop.

Sources: Ziegler et al. 2019 (sections 2 and 3) and the released configurations; see `docs/presets.md`.
"""

from app.hparams.labeling import LabelingHParams
from app.hparams.ppo import PPOHParams
from app.hparams.reward import PROBE_HEADS, RewardHParams
from app.hparams.run import RunHParams
from app.hparams.schedule import ScheduleHParams
from app.hparams.task import TaskHParams

SENTIMENT = TaskHParams(
    question="Which continuation is the most positive and happy?", query_start=".", query_end=".", min_query_tokens=32
)
DESCRIPTIVENESS = SENTIMENT.model_copy(update={"question": "Which continuation is the most vividly descriptive?"})
TLDR = TaskHParams(
    question="Which summary of the post is the best?",
    query_tokens=500,
    query_end="\n",
    suffix="\n\nTL;DR:",
    response_tokens=75,
    terminator="\n",
    min_terminator_index=55,
    summary=True,
)
CNNDM = TLDR.model_copy(
    update={"question": "Which summary of the article is the best?", "prefix": "Article:\n\n", "temperature": 0.5}
)
PAPER_STYLE_EPISODES, PAPER_SUMMARY_EPISODES = 1024 * 1954, 512 * 3907
RELEASED_STYLE_EPISODES, RELEASED_SUMMARY_EPISODES = 512 * 1954, 32 * 31_250


def _told(name: str) -> LabelingHParams:
    """The guideline of the task, which is the first word of a preset's name."""
    return LabelingHParams(guideline=name.split("-")[0])


def _paper_style(name: str, task: TaskHParams, kl_target: float) -> RunHParams:
    return RunHParams(
        preset=name,
        task=task,
        reward=RewardHParams(),
        ppo=PPOHParams(episodes=PAPER_STYLE_EPISODES, kl_target=kl_target),
        schedule=ScheduleHParams(),
        labeling=_told(name),
    )


def _released_style(name: str, task: TaskHParams) -> RunHParams:
    """Of 124M parameters."""
    return RunHParams(
        preset=name,
        task=task.model_copy(update={"terminator_match": "exact", "min_query_tokens": 1}),
        reward=RewardHParams(learning_rate=5e-5, batch=32, normalization_samples=512, query="raw"),
        ppo=PPOHParams(episodes=RELEASED_STYLE_EPISODES, batch=512, learning_rate=1e-5, query_seed=0),
        schedule=_offline(4_992),
        labeling=_told(name),
    )


def _paper_summary(name: str, task: TaskHParams, kl_coef: float) -> RunHParams:
    return RunHParams(
        preset=name,
        task=task,
        reward=RewardHParams(batch=32),
        ppo=PPOHParams(
            episodes=PAPER_SUMMARY_EPISODES,
            batch=512,
            learning_rate=7.07e-6,
            kl_coef=kl_coef,
            kl_target=None,
            whiten_rewards=False,
        ),
        schedule=ScheduleHParams(initial_labels=6_000, total_labels=60_000),
        labeling=_told(name),
    )


def _released_summary(name: str, task: TaskHParams, kl_coef: float) -> RunHParams:
    """Of 124M parameters."""
    return RunHParams(
        preset=name,
        task=task.model_copy(update={"terminator_match": "exact"}),
        reward=RewardHParams(learning_rate=2.5e-5, batch=16, query="raw"),
        ppo=PPOHParams(
            episodes=RELEASED_SUMMARY_EPISODES,
            batch=32,
            micro_batch=32,
            learning_rate=2e-6,
            kl_coef=kl_coef,
            kl_target=None,
            whiten_rewards=False,
            query_seed=0,
        ),
        schedule=_offline(46_000),
        labeling=_told(name),
    )


def _offline(labels: int) -> ScheduleHParams:
    return ScheduleHParams(kind="offline", initial_labels=labels, total_labels=labels, reward_trainings=1)


def _small(name: str, question: str) -> RunHParams:
    """For a model of some 135M parameters on two cores, with prompts that are ready to be continued."""
    return RunHParams(
        preset=name,
        task=TaskHParams(question=question),
        reward=RewardHParams(heads=PROBE_HEADS),
        ppo=PPOHParams(
            episodes=4_000,
            batch=32,
            micro_batch=32,
            epochs=2,
            learning_rate=1e-4,
            kl_target=6.0,
            kl_horizon=320,
            kl_damping=1.0,
            frozen_layers=0.5,
        ),
        schedule=ScheduleHParams(
            initial_labels=64,
            total_labels=600,
            reward_trainings=10,
            outstanding=32,
            promote_episodes=320,
            refresh_episodes=64,
        ),
        labeling=_told(name),
    )


def _pairs(name: str, base: RunHParams) -> RunHParams:
    """The same, but people compare two samples and say how much better the better one is."""
    return base.model_copy(
        update={
            "preset": name,
            "task": base.task.model_copy(update={"samples_per_comparison": 2, "question": _of_two(base.task.question)}),
            "labeling": base.labeling.model_copy(update={"strength": True}),
            "reward": base.reward.model_copy(update={"tie_labels": "even"}),  # the middle of the scale
        }
    )


def _of_two(question: str) -> str:
    return question.replace("the most positive and happy", "more positive and happy")


_ALL = (
    _paper_style("sentiment", SENTIMENT, kl_target=10.0),
    _paper_style("descriptiveness", DESCRIPTIVENESS, kl_target=6.0),
    _paper_summary("tldr", TLDR, kl_coef=0.03),
    _paper_summary("cnndm", CNNDM, kl_coef=0.1),
    _released_style("sentiment-124m", SENTIMENT),
    _released_style("descriptiveness-124m", DESCRIPTIVENESS),
    _released_summary("tldr-124m", TLDR, kl_coef=0.03),
    _released_summary("cnndm-124m", CNNDM, kl_coef=0.01),
    _small("sentiment-small", SENTIMENT.question),
    _small("descriptiveness-small", DESCRIPTIVENESS.question),
    _pairs("sentiment-pairs-small", _small("sentiment-small", SENTIMENT.question)),
)
PRESETS: dict[str, RunHParams] = {one.preset: one for one in _ALL}


def preset(name: str) -> RunHParams:
    """The preset of that name; KeyError names the known ones."""
    if name not in PRESETS:
        raise KeyError(f"no preset {name!r}; choose one of: {', '.join(sorted(PRESETS))}")
    return PRESETS[name]
