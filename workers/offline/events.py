"""What happened in an experiment, one line of its journal each."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from app.hparams import RunHParams
from app.kinds import Split, Verdict


class Event(BaseModel):
    """Frozen; unknown fields are refused, so that a journal of a later version is not misread."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Began(Event):
    """The experiment was set up."""

    kind: Literal["began"] = "began"
    hparams: RunHParams
    base_model: str
    labeler: str
    """Name of the known reward."""
    noise: float
    """Probability of a label at random."""


class Imported(Event):
    """The base model is there and has become the reference."""

    kind: Literal["imported"] = "imported"
    digest: str


class Drawn(Event):
    """One sample of a comparison."""

    text: str
    tokens: tuple[int, ...]
    """Kept ids."""
    score: float | None = None
    """Of the reward model at the time; None before the first."""
    disagreement: float | None = None
    """Over the members of an ensemble, in units of the score; None of a single model."""


class Compared(Event):
    """A question was put."""

    kind: Literal["compared"] = "compared"
    prompt: str
    split: Split
    policy: int | None
    """Number of the policy that wrote it; None: the reference."""
    promotion: int
    """Promotions until then."""
    reward_model: int | None
    """Number of the reward model that scored it."""
    samples: tuple[Drawn, ...]


class Sampled(Event):
    """A sampling job ended; its comparisons were written before it."""

    kind: Literal["sampled"] = "sampled"
    comparisons: tuple[Compared, ...]
    given_up: int


class Labeled(Event):
    """An answer. Comparisons are numbered from 0 in the order of the journal."""

    kind: Literal["labeled"] = "labeled"
    comparison: int
    verdict: Verdict
    best: int | None
    """Index of the sample picked, for the verdict `best`."""


class Given(Event):
    """One answer of elsewhere, with its question."""

    question: Compared
    verdict: Verdict
    best: int | None


class Brought(Event):
    """Labels of a file; they are numbered as those given here are."""

    kind: Literal["brought"] = "brought"
    given: tuple[Given, ...]


class Scored(Event):
    """Open comparisons were scored by a newer reward model."""

    kind: Literal["scored"] = "scored"
    reward_model: int
    scores: dict[int, tuple[float, ...]]
    """By comparison."""


class Rewarded(Event):
    """A reward model was trained."""

    kind: Literal["rewarded"] = "rewarded"
    digest: str
    labels: tuple[int, ...]
    """The comparisons whose labels trained it."""
    report: dict[str, Any]


class Trained(Event):
    """A PPO job ended."""

    kind: Literal["trained"] = "trained"
    state_digest: str
    policy_digest: str | None
    """A policy published at its end, if one was due."""
    reward_model: int
    update: int
    """Updates done, those before the job included."""
    kl_coef: float
    stats: tuple[dict[str, float], ...]
    """One per update of the job."""


class Lost(Event):
    """The state of the last PPO job is gone or broken: that job counts as never done. What it published stays."""

    kind: Literal["lost"] = "lost"
    reason: str


class Promoted(Event):
    """The candidate serves."""

    kind: Literal["promoted"] = "promoted"


class Held(Event):
    """The candidate is kept from serving."""

    kind: Literal["held"] = "held"
    reason: str


class Shown(Event):
    """A policy continued the showcase prompts."""

    kind: Literal["shown"] = "shown"
    policy: int | None
    samples: tuple[tuple[str, str], ...]
    """Prompt and continuation."""


class Finished(Event):
    """All episodes are done."""

    kind: Literal["finished"] = "finished"


class Judged(Event):
    """A policy was measured by the known reward on test prompts."""

    kind: Literal["judged"] = "judged"
    policy: int
    reward: tuple[float, float, float]
    """Mean with its 95 % interval."""
    kl: tuple[float, float, float]
    """Nats per sample to the reference, likewise."""
    score: float
    """Mean of the reward model that trained it last."""


class Optimum(Event):
    """What the best policy at each KL would get, estimated from samples of the reference."""

    kind: Literal["optimum"] = "optimum"
    reference: float
    """Mean known reward of those samples."""
    points: tuple[tuple[float, float, float], ...]
    """KL coefficient, nats per sample, known reward."""


class Final(Event):
    """The last policy was compared with the reference."""

    kind: Literal["final"] = "final"
    policy: int
    result: dict[str, Any]


Decided = Imported | Sampled | Labeled | Scored | Rewarded | Trained | Lost | Promoted | Held | Shown | Finished
Measured = Judged | Optimum | Final
AnyEvent = Began | Brought | Decided | Measured
EVENT: TypeAdapter[AnyEvent] = TypeAdapter(Annotated[AnyEvent, Field(discriminator="kind")])
