"""The README.md of an exported model, filled from its run."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from app.kinds import Split
from app.reports.card import Card, Met

POLICY_USE = """```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("FOLDER")
model = AutoModelForCausalLM.from_pretrained("FOLDER")
inputs = tokenizer({prefix!r} + prompt + {suffix!r}, return_tensors="pt")
print(tokenizer.decode(model.generate(**inputs, max_new_tokens={tokens}, do_sample=True, temperature={temperature})[0]))
```"""
CLASSIFIER_USE = """```python
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("FOLDER")
model = AutoModelForSequenceClassification.from_pretrained("FOLDER")
inputs = tokenizer({prefix!r} + prompt + {suffix!r} + response, return_tensors="pt")
with torch.no_grad():
    score = model(**inputs).logits[0, 0].item() + model.config.score_offset
```

Scores have mean 0 and standard deviation 1 on samples of the base model. A batch may be padded on either side."""
PARTS_USE = """Its head reads more than the last token's final state, so it is no `AutoModelForSequenceClassification`:
`reward_head.json` says what it reads, and `score.py` beside it is the model in fifty lines of transformers.

```python
import sys
sys.path.insert(0, "FOLDER")
from score import score

print(score(prompt, response))
```

Scores have mean 0 and standard deviation 1 on samples of the base model."""


def render(facts: Card, *, classifier: bool | None, reads: str = "formatted") -> str:
    """The card as Markdown with its YAML head.

    Args:
        classifier: of a reward model, whether it loads as a sequence classifier; None: it is a policy.
        reads: of a reward model, `formatted` or `raw`: whether it reads the task's prefix and suffix.
    """
    return "\n".join(_lines(facts, classifier, reads)) + "\n"


def _lines(facts: Card, classifier: bool | None, reads: str) -> Iterator[str]:
    task = facts.hparams["task"]
    name = "Policy" if classifier is None else "Reward model"
    pipeline = {None: "text-generation", True: "text-classification", False: None}[classifier]
    yield from ("---", "library_name: transformers", "tags: [rlhf, prefloop]")
    yield from ([f"pipeline_tag: {pipeline}"] if pipeline else [])
    yield from ("---", "", f"# {name} {facts.number} of {facts.run}", "")
    yield f"{_what(classifier)} Its base model is `{facts.base_model}`; the task: {task['question']}"
    yield from ("", "## Use", "", _use(task, classifier, reads), "", "## How it was made", "", "| | |", "|---|---|")
    yield from (f"| {what} | {said} |" for what, said in _facts(facts))
    if facts.met:
        yield from ("", "## Blind head-to-heads", "", *_met(facts.met))
    if facts.summaries:
        yield from ("", "## Summaries of test prompts", "", *_summaries(facts.summaries))
    if facts.evaluations:
        yield from ("", "## Evaluations", "", *map(_evaluation, facts.evaluations))
    if facts.guideline:
        yield from ("", "## What labelers were told", "", facts.guideline.strip())
    yield from ("", "## Limits", "", LIMITS)


LIMITS = (
    f"It learned what these labelers prefer on prompts like those of its run's {Split.TRAIN} split, and nothing about "
    "others. Optimising a reward model further than its KL here usually makes texts worse while scores still rise."
)


def _what(classifier: bool | None) -> str:
    if classifier is None:
        return "A language model tuned by PPO toward what people chose, held near its base by a KL penalty."
    return "A model of human choices: the higher its score, the likelier people pick the text."


def _use(task: dict[str, Any], classifier: bool | None, reads: str) -> str:
    known = {name: task[name] if reads == "formatted" else "" for name in ("prefix", "suffix")}
    if classifier is None:
        return POLICY_USE.format(**known, tokens=task["response_tokens"], temperature=task["temperature"])
    return CLASSIFIER_USE.format(**known) if classifier else PARTS_USE


def _facts(facts: Card) -> Iterator[tuple[str, str]]:
    yield "run", f"{facts.run} (`{facts.run_id}`), preset {facts.hparams['preset']}"
    if facts.labels is not None:
        yield "labels", f"{facts.labels:,}" + (f" by {facts.labelers} people" if facts.labelers else "")
    if facts.reward_model is not None:
        yield "reward model", f"number {facts.reward_model}"
    if facts.accuracy is not None:
        low, high = facts.accuracy["low"], facts.accuracy["high"]
        interval = f"[{low:.1%}, {high:.1%}]"
        yield "its agreement with labels it did not see", f"{facts.accuracy['value']:.1%} {interval}"
    if facts.agreement is not None and facts.agreement.percent is not None:
        percent = facts.agreement.percent
        interval = f"[{percent.low:.1%}, {percent.high:.1%}] on {facts.agreement.comparisons:,} comparisons"
        yield "labelers' agreement with each other", f"{percent.value:.1%} {interval}"
    if facts.agreement is not None and facts.agreement.alpha is not None:
        yield "Krippendorff's alpha of the labelers", f"{facts.agreement.alpha.value:.2f}"
    if facts.kl is not None:
        yield "KL from the base model", f"{facts.kl:.2f} nats per response"
    if facts.kl_coef is not None:
        yield "KL coefficient at the end", f"{facts.kl_coef:.3g}"
    if facts.episodes:
        yield "PPO episodes", f"{facts.episodes:,}"
    task = facts.hparams["task"]
    ends = "" if task["terminator"] is None else f", ended at {task['terminator']!r}"
    yield "samples", f"{task['response_tokens']} tokens at temperature {task['temperature']}{ends}"


def _met(found: Sequence[Met]) -> Iterator[str]:
    yield from ("| against | wins | 95 % | comparisons |", "|---|---|---|---|")
    for one in found:
        low, high = max(one.win_rate.low, 0.0), min(one.win_rate.high, 1.0)
        yield f"| {one.other} | {one.win_rate.mean:.1%} | {low:.1%} to {high:.1%} | {one.comparisons:,} |"


def _summaries(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    head = ("writer", "ROUGE-1", "ROUGE-2", "ROUGE-L", "own sentences", "openings copied")
    yield from (f"| {' | '.join(head)} |", f"|{'---|' * len(head)}")
    for row in rows:
        scores = (_figure(row, name, "{:.2f}") for name in ("rouge1", "rouge2", "rougeL"))
        shares = (_figure(row, name, "{:.0%}") for name in ("novel_sentences", "openings"))
        yield f"| {' | '.join((row['writer'], *scores, *shares))} |"


def _figure(row: Mapping[str, Any], name: str, form: str) -> str:
    return "" if row.get(name) is None else form.format(row[name])


def _evaluation(one: dict[str, Any]) -> str:
    figures = (f"{name} {value:.4g}" for name, value in one.items() if isinstance(value, int | float))
    return f"- by {one['judge']}: {', '.join(figures)}"
