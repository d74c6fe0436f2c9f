"""Progress bars of an experiment."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from app.kinds import Split
from workers.offline.experiment import Told
from workers.offline.ledger import Ledger


class Bars(Told):
    """Labels and episodes, with the last figures beside them."""

    def __init__(self, console: Console) -> None:
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[said]}"),
            console=console,
        )
        self._model = self.progress.add_task("model", total=1, said="", visible=False)
        self._labels = self.progress.add_task("labels", total=None, said="", visible=False)
        self._episodes = self.progress.add_task("episodes", total=None, said="", visible=False)
        self._batch = 1

    def fetched(self, what: str, fraction: float) -> None:
        """A base model is being fetched or built."""
        self.progress.update(self._model, completed=fraction, said=what, visible=fraction < 1)

    def began(self, ledger: Ledger) -> None:
        """Start the clocks where the ledger stands: what was done before says nothing of the speed."""
        hparams = ledger.hparams
        labels = len(ledger.usable(Split.TRAIN))
        self.progress.reset(self._labels, total=hparams.schedule.total_labels, completed=labels, visible=True)
        self.progress.reset(self._episodes, total=hparams.ppo.episodes, completed=ledger.episodes, visible=True)
        self.happened(ledger)

    def happened(self, ledger: Ledger) -> None:
        """Move the bars to where the ledger stands."""
        hparams = ledger.hparams
        self._batch = hparams.ppo.batch
        self.progress.update(
            self._labels,
            total=hparams.schedule.total_labels,
            completed=len(ledger.usable(Split.TRAIN)),
            said=_accuracy(ledger),
        )
        self.progress.update(self._episodes, total=hparams.ppo.episodes, completed=ledger.episodes)

    def updated(self, update: int, stats: dict[str, float]) -> None:
        """Move the episodes."""
        said = f"score {stats['objective/score']:.2f}, KL {stats['objective/kl']:.1f} nats"
        self.progress.update(self._episodes, completed=update * self._batch, said=said)

    def said(self, sentence: str) -> None:
        """A line above the bars."""
        self.progress.console.print(sentence, highlight=False)


def _accuracy(ledger: Ledger) -> str:
    found = ledger.rewards[-1].report.get("accuracy_heldout") if ledger.rewards else None
    return f"reward model {found['value']:.0%} right on held-out labels" if found else ""
