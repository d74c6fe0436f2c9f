"""Labels of a file as the beginning of an experiment."""

from pathlib import Path

from app.errors import InvalidError
from app.hparams import RunHParams
from app.kinds import Split
from app.texts import digest_of, split_of
from workers.label_source import ReadLabel, read_labels, remapper
from workers.offline.events import Compared, Drawn, Given
from workers.prompt_rows import Fault

SHOWN_FAULTS = 5


def read_file_of_labels(
    path: Path, base_model: str, tokenizer: str | None, home: Path, hparams: RunHParams
) -> tuple[Given, ...]:
    """All labels of a file, in the tokens of the base model; what the file keeps from training is left out.

    Raises: InvalidError naming the records that cannot be read, or if none is left.
    """
    texts = remapper(base_model, tokenizer, home)
    found = list(read_labels(str(path.expanduser()), texts, samples=hparams.task.samples_per_comparison))
    faults = [str(one) for one in found if isinstance(one, Fault)]
    if faults:
        raise InvalidError(f"{len(faults)} of {len(found)} records are bad. {'; '.join(faults[:SHOWN_FAULTS])}.")
    given = tuple(_given(one) for one in found if isinstance(one, ReadLabel) and not one.row.holdout)
    if not given:
        raise InvalidError(f"{path} holds no label to learn from.")
    return given


def _given(one: ReadLabel) -> Given:
    question = Compared(
        prompt=one.prompt,
        split=Split(split_of(digest_of(one.prompt))),
        policy=None,
        promotion=0,
        reward_model=None,
        samples=tuple(Drawn(text=sample.text, tokens=sample.ids) for sample in one.samples),
    )
    return Given(question=question, verdict=one.row.verdict, best=one.row.best)
