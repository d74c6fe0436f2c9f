"""The report of an experiment: one page of Markdown, one of curves."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from app.kinds import Split
from workers.offline.ledger import Ledger

CURVES = {
    "score": "objective/score",
    "KL, nats": "objective/kl",
    "KL coefficient": "objective/kl_coef",
    "entropy, nats": "objective/entropy",
    "value loss": "ppo/loss/value",
    "ended in time": "objective/valid_fraction",
}


def write_report(folder: Path, ledger: Ledger) -> list[Path]:
    """Write `report.md` and `report.html`; their paths."""
    pages = {folder / "report.md": markdown(ledger), folder / "report.html": html(ledger)}
    for path, content in pages.items():
        path.write_text(content, encoding="utf-8")
    return list(pages)


def markdown(ledger: Ledger) -> str:
    """What was asked, what was learned, what came out."""
    return (
        "\n".join([*_setup(ledger), *_rewards(ledger), *_frontier(ledger), *_final(ledger), *_samples(ledger)]) + "\n"
    )


def html(ledger: Ledger) -> str:
    """Curves over episodes and the frontier, in one file that needs no network."""
    titles = [*CURVES, "known reward against KL"]
    figure = make_subplots(rows=4, cols=2, specs=[[{}, {}]] * 3 + [[{"colspan": 2}, None]], subplot_titles=titles)
    batch, stats = ledger.hparams.ppo.batch, [one for job in ledger.trainings for one in job.stats]
    episodes = [batch * (i + 1) for i in range(len(stats))]
    for place, name in enumerate(CURVES.values()):
        curve = go.Scatter(x=episodes, y=[one[name] for one in stats], mode="lines", showlegend=False)
        figure.add_trace(curve, row=place // 2 + 1, col=place % 2 + 1)
    for trace in _frontier_traces(ledger):
        figure.add_trace(trace, row=4, col=1)
    figure.update_xaxes(title_text="episodes")
    figure.update_xaxes(title_text="KL to the reference, nats per sample", row=4, col=1)
    figure.update_layout(title=f"{ledger.hparams.preset} on {ledger.setup.base_model}", height=1200)
    page: str = figure.to_html(include_plotlyjs=True, full_html=True)
    return page


def _frontier_traces(ledger: Ledger) -> Iterator[Any]:
    judged = [ledger.judged[number] for number in sorted(ledger.judged)]
    texts = [f"policy {one.policy}" for one in judged]
    yield go.Scatter(
        x=[one.kl[0] for one in judged],
        y=[one.reward[0] for one in judged],
        text=texts,
        name="PPO",
        mode="markers+lines",
    )
    if ledger.optimum is not None:
        points = ledger.optimum.points
        yield go.Scatter(x=[p[1] for p in points], y=[p[2] for p in points], name="sampled optimum", mode="lines")


def _setup(ledger: Ledger) -> list[str]:
    setup, hparams = ledger.setup, ledger.hparams
    usable = {split: len(ledger.usable(split)) for split in (Split.TRAIN, Split.VALID)}
    return [
        f"# {hparams.preset} on {setup.base_model}, labels by {setup.labeler}",
        "",
        f"- question: {hparams.task.question}",
        f"- labels: {len(ledger.labels)} in all, of which {usable[Split.TRAIN]} train and {usable[Split.VALID]} are "
        f"held out with their prompts; noise {setup.noise:.0%}",
        f"- PPO: {ledger.episodes} episodes in updates of {hparams.ppo.batch}, "
        f"learning rate {hparams.ppo.learning_rate}",
        f"- reward models: {len(ledger.rewards)}; policies published: {len(ledger.policies)}; seed {hparams.seed}",
        "",
    ]


def _rewards(ledger: Ledger) -> list[str]:
    k = ledger.hparams.task.samples_per_comparison
    table = [
        "## Reward models",
        "",
        f"Accuracy at picking the best of {k}, with 95 % intervals; chance is {100 / k:.0f} %. Loss, calibration error",
        "and Brier's score are of the held-out folds. The last two are 0 at best; without an opinion Brier's is "
        f"{1 - 1 / k:.2f}.",
        "",
    ]
    rows = [
        (
            str(number),
            str(len(one.labels)),
            _share(one.report.get("accuracy_heldout")),
            _share(one.report.get("accuracy_valid")),
            _number(one.report.get("loss_heldout")),
            *(_number(one.report.get("calibration_heldout", {}).get(name)) for name in ("error", "brier")),
        )
        for number, one in enumerate(ledger.rewards)
    ]
    heads = (
        "reward model",
        "labels",
        "held-out folds",
        "held-out prompts",
        "held-out loss",
        "calibration error",
        "Brier",
    )
    return [*table, *_table(heads, rows), ""]


def _frontier(ledger: Ledger) -> list[str]:
    lines = ["## Known reward against KL", "", "Of samples on test prompts, one per prompt, with 95 % intervals.", ""]
    rows = [
        (
            str(number),
            str(ledger.policies[number].episodes),
            _interval(one.kl),
            _interval(one.reward),
            f"{one.score:.2f}",
        )
        for number, one in sorted(ledger.judged.items())
    ]
    lines += _table(("policy", "episodes", "KL, nats", "known reward", "score"), rows)
    if ledger.optimum is not None:
        lines += [
            "",
            f"The reference gets {ledger.optimum.reference:.3f}. The optimum, estimated from its samples:",
            "",
        ]
        points = [(f"{coef:g}", f"{kl:.2f}", f"{reward:.3f}") for coef, kl, reward in ledger.optimum.points]
        lines += _table(("KL coefficient", "KL, nats", "known reward"), points)
    return [*lines, ""]


def _final(ledger: Ledger) -> list[str]:
    if ledger.final is None:
        return []
    found = ledger.final.result
    return [
        "## The last policy against the reference",
        "",
        f"- known reward: {_mean(found['policy_mean'])} against {_mean(found['reference_mean'])}",
        f"- better on {found['win_rate']:.1%} of {found['wins'] + found['losses']} untied prompts",
        f"- KL: {_mean(found['kl'])} nats per sample",
        f"- ended in time: {found['valid_policy']:.1%}, the reference {found['valid_reference']:.1%}",
        "",
    ]


def _samples(ledger: Ledger) -> list[str]:
    before, after = ledger.shown.get(None), ledger.shown.get(ledger.serving)
    if before is None or after is None:
        return []
    lines = ["## Samples on test prompts", ""]
    for (prompt, old), (_, new) in zip(before.samples, after.samples, strict=True):
        lines += [f"> {prompt}", "", f"- reference: {old.strip()}", f"- policy: {new.strip()}", ""]
    return lines


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def _share(found: dict[str, float] | None) -> str:
    return f"{found['value']:.0%} [{found['low']:.0%}, {found['high']:.0%}]" if found else "-"


def _number(found: float | None) -> str:
    return "-" if found is None else f"{found:.3f}"


def _interval(found: tuple[float, float, float]) -> str:
    return f"{found[0]:.3f} [{found[1]:.3f}, {found[2]:.3f}]"


def _mean(found: dict[str, float]) -> str:
    return f"{_interval((found['mean'], found['low'], found['high']))} (n = {found['n']})"
