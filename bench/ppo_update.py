"""Seconds per PPO update and episodes per second of the small preset on this machine, scored by a head as it fits them.

Run from the repository root on a machine that does nothing else: `make bench ARGS=ppo_update`.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch

from app.hparams import MIDDLE_MEANS, RewardHead, preset
from app.settings import Settings
from workers.models import AUTO, ensure_base_model
from workers.nets import precision
from workers.nets.language_model import LanguageModel
from workers.nets.policy import Policy
from workers.nets.tokenizer import encode_queries, load_tokenizer, terminator_ids
from workers.ppo_trainer import PPOTrainer, Progress
from workers.reward_members import Trunk, fresh
from workers.rlhf.types import QueryBatch

TEXT = "The old lighthouse keeper climbed the stairs one last time before the storm, and from the top he saw the boats."


def main() -> None:
    """Warm up once, then time updates; prints one JSON line for each setting."""
    parser = argparse.ArgumentParser(description="Time PPO updates.")
    parser.add_argument("--model", default=AUTO)
    parser.add_argument("--updates", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    folder = ensure_base_model(options.model, Settings().home.expanduser())
    found = precision.configure("cpu", options.threads)
    for bf16 in (found.bf16, False) if found.bf16 else (False,):
        seconds = measure(folder, bf16=bf16, updates=options.updates)
        batch = preset("sentiment-small").ppo.batch
        facts = {"model": folder.name, "bf16": bf16, "threads": torch.get_num_threads(), "batch": batch}
        middle = statistics.median(seconds)
        print(json.dumps(facts | {"seconds": middle, "spread": seconds, "episodes_per_second": batch / middle}))


def measure(folder: Path, *, bf16: bool, updates: int) -> list[float]:
    """Seconds of each update after a first that is not counted."""
    hparams, tokenizer = preset("sentiment-small"), load_tokenizer(folder)
    model, reference = LanguageModel.load(folder), LanguageModel.load(folder)
    scorer = fresh(
        RewardHead(readouts=MIDDLE_MEANS),
        Trunk(reference=reference, digest="", load=lambda: reference),
        torch.Generator().manual_seed(0),
    )
    trainer = PPOTrainer(
        Policy(model, frozen_layers=int(hparams.ppo.frozen_layers * model.num_layers)),
        Policy(reference).requires_grad_(False),
        task=hparams.task,
        ppo=hparams.ppo,
        terminators=torch.tensor(terminator_ids(tokenizer, hparams.task.terminator or ".")),
        seed=0,
        progress=Progress(update=0, kl_coef=hparams.ppo.kl_coef),
        bf16=bf16,
    )
    ids, mask = encode_queries(tokenizer, [TEXT] * hparams.ppo.batch, max_tokens=hparams.task.query_tokens)
    seconds = []
    for _ in range(updates + 1):
        began = time.perf_counter()
        trainer.update(QueryBatch.same(ids, mask), scorer)
        seconds.append(time.perf_counter() - began)
    return seconds[1:]


if __name__ == "__main__":
    main()
