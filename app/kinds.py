"""Kinds of things: the words that tables, schedules and trainers share. Standard library only."""

from enum import StrEnum


class JobKind(StrEnum):
    """What a job asks for."""

    SAMPLE = "sample"
    """Write samples for people with the serving policy."""
    SCORE = "score"
    """Score open samples with the newest reward model."""
    SHOWCASE = "showcase"
    """Continue fixed test prompts with a policy, for the dashboard."""
    GENERATE = "generate"
    """Continue a prompt that a researcher typed."""
    READ_SAMPLES = "read_samples"
    """Read samples again: the KL of each token, and their scores by the newest reward model."""
    CONTEST = "contest"
    """Write the samples of a blind head-to-head."""
    TRAIN_REWARD = "train_reward"
    TRAIN_POLICY = "train_policy"
    LEAVE_OUT = "leave_out"
    """Fit reward models with and without one labeler's labels, and compare."""
    PROBE_REWARD = "probe_reward"
    """Hold the newest reward model against changed texts whose order is known."""
    IMPORT_MODEL = "import_model"
    """Register the base model as the run's reference policy."""
    IMPORT_PROMPTS = "import_prompts"
    """Read prompts into a set; belongs to no run."""
    CUT_PROMPTS = "cut_prompts"
    """The same, cut from longer texts in the tokens of a model."""
    IMPORT_LABELS = "import_labels"
    """Read a file of labels into a run."""
    EXPORT_LABELS = "export_labels"
    """Write a run's labels into files."""
    EXPORT_IDS = "export_ids"
    """The same as token ids of queries and responses, in the published form."""
    EXPORT_MODEL = "export_model"
    """Write a policy or reward model as a Hugging Face folder, and push it."""


class Split(StrEnum):
    """Train teaches, valid selects, test reports. Decided once by a hash of the normalised text."""

    TRAIN = "train"
    VALID = "valid"
    TEST = "test"


class Question(StrEnum):
    """What may be asked besides the choice. Texts say something; axes rate the chosen sample from 1 to 7."""

    NAIVE = "naive"
    """What the samples alone seem to say, written before the prompt is shown (Stiennon et al. 2020)."""
    WRONG = "wrong"
    """What is wrong with the samples."""
    BETTER = "better"
    """A better text than any shown."""
    COHERENCE = "coherence"
    ACCURACY = "accuracy"
    COVERAGE = "coverage"
    OVERALL = "overall"


AXES = (Question.COHERENCE, Question.ACCURACY, Question.COVERAGE, Question.OVERALL)
"""Questions that are rated."""
MOST_RATING = 7
"""Of an axis; 1 is the worst."""
MOST_STRENGTH = 4
"""How much better the chosen of a pair is: 1 barely, 4 by far. With the tie and the other side: nine points."""


class Verdict(StrEnum):
    """The answer."""

    BEST = "best"
    TIE = "tie"
    NONE = "none"
    """None of them is good."""
    SKIP = "skip"
    UNDONE = "undone"
    """Takes back the revision before it."""


ASKED = (JobKind.GENERATE, JobKind.READ_SAMPLES, JobKind.CONTEST, JobKind.LEAVE_OUT, JobKind.PROBE_REWARD)
"""Jobs that people ask for about a run: the loop does not wait for them, and there may be several at once."""
CARRIED = (
    JobKind.IMPORT_PROMPTS,
    JobKind.CUT_PROMPTS,
    JobKind.IMPORT_LABELS,
    JobKind.EXPORT_LABELS,
    JobKind.EXPORT_IDS,
    JobKind.EXPORT_MODEL,
)
"""Jobs that people ask for to bring data in or out; no run waits for them."""
