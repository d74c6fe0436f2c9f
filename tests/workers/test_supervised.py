"""Supervised fine-tuning of a tiny random model."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from app.errors import ConflictError
from app.hparams import SupervisedHParams
from tests.workers.nets.tiny import VOCABULARY, random_ids, tiny_language_model, tiny_model
from workers.nets.language_model import LanguageModel
from workers.rlhf.adam import TFAdam
from workers.supervised import Moment, Supervision
from workers.supervised_data import Example, Examples
from workers.supervised_state import Fitting

QUIET = SupervisedHParams(rates=2, lowest_rate=1e-3, highest_rate=1e-2, batch=6, micro_batch=4, dropout=0.0)


def examples() -> Examples:
    """Responses of 1 to 8 tokens that count up from the query's last token."""
    rows = []
    for i, query in enumerate(random_ids(20, 3, seed=9).tolist()):
        response = [(query[-1] + 1 + t) % VOCABULARY for t in range(1 + i % 8)]
        rows.append(Example(query=tuple(query[i % 3 :]), response=tuple(response)))
    return Examples(train=rows[:15], valid=rows[15:])


def load(family: str = "gpt2") -> LanguageModel:
    return tiny_language_model(family)


def supervision(hparams: SupervisedHParams = QUIET, **changes: object) -> Supervision:
    given = {"examples": examples(), "load": load, "hparams": hparams, "seed": 3, "bf16": False}
    return Supervision(**(given | changes))  # type: ignore[arg-type]


def ignored(moment: Moment) -> None:
    assert 0 < moment.step <= moment.steps


def fitted(folder: Path, supervision: Supervision, told: Callable[[Moment], None] = ignored) -> LanguageModel:
    return supervision.run(Fitting(folder, {"setup": "one"}), told=told, seconds=0)


def weights(model: LanguageModel) -> torch.Tensor:
    return torch.cat([one.detach().flatten() for one in model.parameters()])


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_the_loss_is_the_likelihood_that_transformers_gives(family: str) -> None:
    plain, total, count = tiny_model(family), 0.0, 0
    for one in examples().valid:
        logits = plain(torch.tensor([[*one.query, *one.response]])).logits[0].log_softmax(dim=-1)
        for t, token in enumerate(one.response):
            total -= logits[len(one.query) + t - 1, token].item()
            count += 1
    assert supervision().held_out_loss(load(family)) == pytest.approx(total / count, rel=1e-4)


def test_the_best_rate_is_kept_and_beats_the_base_model(tmp_path: Path) -> None:
    asked = supervision(QUIET.model_copy(update={"rates": 3, "epochs": 8}))
    fitting = Fitting(tmp_path, {})
    best = asked.run(fitting, told=ignored)
    losses = [trial.held_out_loss for trial in fitting.trials]
    assert [trial.learning_rate for trial in fitting.trials] == pytest.approx([1e-3, 10**-2.5, 1e-2])
    assert asked.held_out_loss(best) == pytest.approx(min(loss for loss in losses if loss is not None))
    assert fitting.base_loss is not None
    assert asked.held_out_loss(best) < fitting.base_loss
    assert fitting.best.held_out_loss == min(loss for loss in losses if loss is not None)


def test_small_passes_learn_what_large_ones_do(tmp_path: Path) -> None:
    one = fitted(tmp_path / "one", supervision(QUIET.model_copy(update={"micro_batch": 1})))
    six = fitted(tmp_path / "six", supervision(QUIET.model_copy(update={"micro_batch": 6})))
    torch.testing.assert_close(weights(one), weights(six), rtol=0, atol=2e-3)
    assert not torch.allclose(weights(one), weights(load()), rtol=0, atol=2e-3)


def test_the_query_is_read_and_not_learned() -> None:
    model, row = load(), Example(query=(5, 9), response=(7,))
    measured = supervision(examples=Examples(train=[row], valid=[row])).held_out_loss(model)
    logits = tiny_model("gpt2")(torch.tensor([[5, 9]])).logits[0, -1]
    assert measured == pytest.approx(-logits.log_softmax(dim=-1)[7].item(), rel=1e-4)


class KilledError(Exception):
    pass


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("after", [1, 2, 4, 5])
def test_a_killed_fit_goes_on_bit_for_bit(tmp_path: Path, after: int, dropout: float) -> None:
    asked = supervision(QUIET.model_copy(update={"dropout": dropout}))
    heard: list[Moment] = []

    def kill(moment: Moment) -> None:
        heard.append(moment)
        if len(heard) == after:
            raise KilledError

    with pytest.raises(KilledError):
        fitted(tmp_path / "killed", asked, kill)
    resumed: list[Moment] = []
    gone_on = fitted(tmp_path / "killed", asked, resumed.append)
    whole: list[Moment] = []
    unbroken = fitted(tmp_path / "whole", asked, whole.append)
    assert torch.equal(weights(gone_on), weights(unbroken))
    assert [*heard[:-1], *resumed] == whole  # the step in which it died is done again, no other


def test_dropout_changes_what_is_learned_not_how_it_is_measured(tmp_path: Path) -> None:
    dropped = supervision(QUIET.model_copy(update={"dropout": 0.3}))
    assert dropped.held_out_loss(load()) == supervision().held_out_loss(load())
    without, within = fitted(tmp_path / "without", supervision()), fitted(tmp_path / "within", dropped)
    assert not torch.allclose(weights(without), weights(within), rtol=0, atol=1e-3)


def test_random_numbers_of_others_are_left_alone() -> None:
    asked, model = supervision(), load()
    model.allow_dropout(0.5)
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    asked._step(model, TFAdam(model.parameters(), lr=1e-3), 0)
    assert torch.equal(torch.rand(3), expected)


def test_each_epoch_has_every_row_once() -> None:
    asked = supervision(QUIET.model_copy(update={"epochs": 2}))
    assert asked.steps == 6  # 15 rows in batches of 6, 6 and 3, twice
    batches = [asked._batch(step) for step in range(6)]
    for epoch in (batches[:3], batches[3:]):
        assert sorted(one.query for batch in epoch for one in batch) == sorted(one.query for one in examples().train)
    assert batches[:3] != batches[3:]


def test_rates_that_diverge_lose(tmp_path: Path) -> None:
    wild = SupervisedHParams(rates=2, lowest_rate=1e-3, highest_rate=1e38, batch=3, dropout=0.0, epochs=2)
    fitting = Fitting(tmp_path, {})
    supervision(wild).run(fitting, told=ignored)
    assert [math.isfinite(trial.held_out_loss or math.inf) for trial in fitting.trials] == [True, False]
    assert fitting.best == fitting.trials[0]


def test_another_setup_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    Fitting(tmp_path / "fit", {"seed": 1})
    Fitting(tmp_path / "fit", {"seed": 1})
    with pytest.raises(ConflictError, match="other settings"):
        Fitting(tmp_path / "fit", {"seed": 2})
