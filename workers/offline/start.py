"""Begin an experiment in a folder, or go on with the one that is there."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app.errors import ConflictError, InvalidError
from app.hparams import RunHParams
from app.rules import highest
from workers.judges import load_judge
from workers.offline import events, judging, prompts
from workers.offline.events import AnyEvent, Began
from workers.offline.experiment import Experiment, Told
from workers.offline.journal import NAME, Journal
from workers.offline.labeler import MockLabeler
from workers.offline.ledger import Ledger
from workers.offline.measuring import Measuring
from workers.offline.reading import read_ledger
from workers.offline.report import write_report
from workers.trainers import Processes
from workers.workshop import Workshop

NOTHING_HERE = "{} holds no experiment yet: say what it is to be, such as --preset and --judge."


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What an experiment is to be; all of it is kept in its folder."""

    hparams: RunHParams
    base_model: str
    labeler: str
    """Name of a judge."""
    noise: float
    prompts: Sequence[str]
    labels: Sequence[events.Given] = ()
    """Answers of elsewhere that the experiment starts with."""

    @property
    def event(self) -> Began:
        """As it is written down."""
        return Began(hparams=self.hparams, base_model=self.base_model, labeler=self.labeler, noise=self.noise)


def train(
    folder: Path,
    setup: Setup | None,
    *,
    models: Path,
    samples: int,
    told: Told,
    threads: int = 0,
    team: Processes | None = None,
    compiled: bool = False,
) -> list[Path]:
    """Run an experiment to its end and measure it; paths of the report.

    Args:
        setup: None goes on with what the folder holds; a setup that differs from it is refused.
        models: folder of the base models.
        samples: of each policy in the last comparison.
        team: processes that train together; None: this one trains alone.
        compiled: compile what PPO trains.
    Raises: InvalidError if there is nothing to go on with; ConflictError if the folder holds another experiment or
        another process works there.
    """
    if setup is None and not (folder / NAME).exists():
        raise InvalidError(NOTHING_HERE.format(folder))
    journal = Journal(folder)
    try:
        ledger = read_ledger(journal)
        workshop = Workshop(folder, models=models, threads=threads, compiled=compiled)
        if ledger.began is None:
            _begin(folder, journal, ledger, setup, workshop)
        elif setup is not None:
            _require_same(folder, ledger, setup)
        told.began(ledger)
        pool, judge = prompts.kept(folder), judging.kept(folder, ledger.setup.labeler)

        def note(event: AnyEvent) -> None:
            journal.append([event])
            ledger.apply(event)
            told.happened(ledger)

        labeler = MockLabeler(rule=highest(judge), noise=ledger.setup.noise, seed=ledger.hparams.seed)
        Experiment(
            journal=journal,
            ledger=ledger,
            prompts=pool,
            workshop=workshop,
            team=team,
            labeler=labeler,
            told=told,
        ).run()
        Measuring(
            ledger=ledger, prompts=pool, workshop=workshop, judge=judge, samples=samples, note=note, said=told.said
        ).run()
        return write_report(folder, ledger)
    finally:
        if team is not None:
            team.disband()
        journal.close()


def _begin(folder: Path, journal: Journal, ledger: Ledger, setup: Setup | None, workshop: Workshop) -> None:
    """Write the setup down, once all of it is known to be good: what stands in the journal cannot be changed."""
    if setup is None:
        raise InvalidError(NOTHING_HERE.format(folder))
    prompts.PromptPool.of(setup.prompts)
    load_judge(setup.labeler)
    workshop.prepare(setup.base_model, setup.hparams.task)
    prompts.keep(folder, setup.prompts)
    judging.keep(folder, setup.labeler)
    begun: list[AnyEvent] = [setup.event]
    if setup.labels:
        begun.append(events.Brought(given=tuple(setup.labels)))
    journal.append(begun)
    for event in begun:
        ledger.apply(event)


def _require_same(folder: Path, ledger: Ledger, setup: Setup) -> None:
    same = (
        setup.event == ledger.setup
        and prompts.PromptPool.of(setup.prompts) == prompts.kept(folder)
        and judging.same(folder, setup.labeler)
    )
    if not same:
        raise ConflictError(
            f"{folder} holds an experiment with other settings: go on with it by giving --out alone, or choose another "
            "folder."
        )
