"""Labels of a file, or of another experiment, as the beginning of an experiment."""

from pathlib import Path

from app.errors import InvalidError
from app.hparams import RunHParams
from app.kinds import Split
from app.texts import digest_of, split_of
from workers.label_source import ReadLabel, read_labels, remapper
from workers.offline.events import Compared, Drawn, Given
from workers.offline.journal import NAME, Journal
from workers.offline.ledger import Ledger
from workers.prompt_rows import Fault

SHOWN_FAULTS = 5


def read_file_of_labels(
    path: Path, base_model: str, tokenizer: str | None, home: Path, hparams: RunHParams
) -> tuple[Given, ...]:
    """All labels of a file, in the tokens of the base model; what the file keeps from training is left out.

    The folder of another experiment gives its labels, in the order in which they were given.

    Raises: InvalidError naming the records that cannot be read, or if none is left; ConflictError while that other
        experiment is running.
    """
    given = (
        _of_experiment(path, base_model)
        if (path / NAME).is_file()
        else _of_file(path, base_model, tokenizer, home, hparams)
    )
    if not given:
        raise InvalidError(f"{path} holds no label to learn from.")
    return given


def _of_experiment(folder: Path, base_model: str) -> tuple[Given, ...]:
    """Token ids stay as they are, so the other experiment must have used the same model."""
    journal = Journal(folder)
    try:
        ledger = Ledger.of(journal.read())
    finally:
        journal.close()
    if ledger.setup.base_model != base_model:
        raise InvalidError(
            f"The labels of {folder} are on samples of {ledger.setup.base_model}, not of {base_model}. "
            "Choose that model, or give the labels as a file of texts."
        )
    plain = {"policy": None, "promotion": 0, "reward_model": None}
    return tuple(
        Given(question=ledger.comparisons[number].model_copy(update=plain), verdict=label.verdict, best=label.best)
        for number, label in ledger.labels.items()
    )


def _of_file(path: Path, base_model: str, tokenizer: str | None, home: Path, hparams: RunHParams) -> tuple[Given, ...]:
    texts = remapper(base_model, tokenizer, home)
    found = list(read_labels(str(path.expanduser()), texts, samples=hparams.task.samples_per_comparison))
    faults = [str(one) for one in found if isinstance(one, Fault)]
    if faults:
        raise InvalidError(f"{len(faults)} of {len(found)} records are bad. {'; '.join(faults[:SHOWN_FAULTS])}.")
    return tuple(_given(one) for one in found if isinstance(one, ReadLabel) and not one.row.holdout)


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
