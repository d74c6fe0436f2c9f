"""Ratings into a reward model: python examples/ratings.py RATED MODEL OUT

RATED has one row per line: {"prompt": ..., "text": ..., "rating": number}; or, about two texts,
{"prompt": ..., "texts": [..., ...], "difference": number}: how much better the second is. MODEL is the folder of a
language model. OUT becomes the folder of a reward model for transformers alone; its scores have mean 0 and deviation 1
on samples of MODEL.
"""

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.hparams import RunHParams, TaskHParams, preset
from app.kinds import Split
from app.texts import digest_of, split_of
from workers.nets.language_model import LanguageModel
from workers.nets.tokenizer import token_ids
from workers.references import Reference
from workers.reward_features import FeatureCache
from workers.reward_folder import write_reward_model
from workers.reward_labels import EncodedLabel, EncodedSample, RewardData
from workers.reward_members import Trunk
from workers.reward_trainer import fit
from workers.rlhf.labels import Difference, Rating
from workers.sampler import Sampler, sample_once


def train(rated: Path, model: Path, out: Path, hparams: RunHParams) -> dict[str, Any]:
    """Fit to all rows but those whose prompts are held out; the trainer's report."""
    rows = [json.loads(line) for line in rated.read_text(encoding="utf-8").splitlines()]
    reference, task = Reference.load(model), hparams.task
    by_split: dict[Split, list[EncodedLabel]] = {split: [] for split in Split}
    for row in rows:
        label = encoded(reference, task, row)
        by_split[split_of(label.prompt)].append(label)
    prompts = sorted({row["prompt"] for row in rows})[: hparams.reward.normalization_samples]
    data = RewardData(
        train=by_split[Split.TRAIN],
        valid=by_split[Split.VALID],
        normalization=written(reference, task, prompts),
        kind=Rating() if "rating" in rows[0] else Difference(),
    )
    trunk = Trunk(
        reference=reference.policy.language_model, digest=reference.digest, load=lambda: LanguageModel.load(model)
    )
    with tempfile.TemporaryDirectory() as features:
        fitted = fit(data, trunk, hparams=hparams.reward, seed=hparams.seed, cache=FeatureCache(Path(features)))
    write_reward_model(out, fitted.model, reference.tokenizer, task=task, reads=hparams.reward.query)
    return fitted.report


def encoded(reference: Reference, task: TaskHParams, row: dict[str, Any]) -> EncodedLabel:
    """A row as token ids."""
    ids, mask = reference.encode([row["prompt"]], task)
    texts = [row["text"]] if "rating" in row else row["texts"]
    return EncodedLabel(
        prompt=digest_of(row["prompt"]),
        query=tuple(ids[0][mask[0]].tolist()),
        responses=tuple(tuple(token_ids(reference.tokenizer, text)) for text in texts),
        target=(float(row["rating"] if "rating" in row else row["difference"]),),
    )


def written(reference: Reference, task: TaskHParams, prompts: Sequence[str]) -> list[EncodedSample]:
    """What the language model itself continues prompts with; it sets the scale of the scores."""
    ids, mask = reference.encode(prompts, task)
    sampler = Sampler(
        writer=reference.policy, decoder=reference.tokenizer, task=task, terminators=reference.terminators(task)
    )
    draws = sample_once(sampler, ids, mask, seed=0)
    return [
        EncodedSample(tuple(row[real].tolist()), tuple(one.tokens))
        for row, real, (one,) in zip(ids, mask, draws, strict=True)
    ]


if __name__ == "__main__":
    rated, model, out = map(Path, sys.argv[1:4])
    report = train(rated, model, out, preset("sentiment-small"))
    print(json.dumps({name: value for name, value in report.items() if name.startswith(("pearson", "loss"))}))
