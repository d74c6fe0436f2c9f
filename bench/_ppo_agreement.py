"""Do both sides compute the same? TRL's numbers of one rollout against ours on the same weights and tokens."""

import tempfile
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from bench._peers import PINS, peer_python, run_json
from bench._shapes import Shape
from workers.nets.language_model import LanguageModel
from workers.nets.policy import Policy
from workers.rlhf.advantages import gae
from workers.rlhf.rewards import per_token_rewards

SMALL = Shape(layers=3, width=96, heads=4)
TEMPERATURE, KL_COEF, LAMBDA = 0.7, 0.15, 0.95
TOLERANCE = 1e-4


def agreement(python: Path | None = None) -> dict[str, float]:
    """Largest differences, by what was computed. Raises: SystemExit beyond the tolerance."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        numbers = asdict(SMALL) | {"query": 12, "response": 8, "batch": 8, "epochs": 1, "steps": 1, "warmup": 0}
        words = [word for name, number in numbers.items() for word in (f"--{name}", str(number))]
        script = PINS.parent / "peers" / "trl_ppo.py"
        run_json([peer_python(python), script, *words, "--threads", "1", "--lane", "fp32", "--record", home])
        found = differences(torch.load(home / "rollout.pt"), home)
    if wrong := {name: value for name, value in found.items() if not value <= TOLERANCE}:
        raise SystemExit(f"the two sides do not compute the same: {wrong}")
    return found


def differences(seen: dict[str, Tensor], home: Path) -> dict[str, float]:
    """Between what TRL recorded and what we make of its tokens, values and scores."""
    queries, responses = seen["queries"], seen["responses"]
    said, reference = (_logprobs(home / name, queries, responses) for name in ("policy", "reference"))
    lengths = torch.full((len(responses),), responses.shape[1])
    rewards = per_token_rewards(
        said, reference, seen["scores"], lengths, kl_coef=KL_COEF, mode="corrected", estimator="k1"
    )
    advantages = gae(_whitened(rewards) + rewards.mean(), seen["values"], gamma=1.0, lam=LAMBDA)
    pairs = {
        "logprobs": (said, seen["logprobs"]),
        "kl": (said - reference, seen["logprobs"] - seen["ref_logprobs"]),
        "rewards": (rewards, seen["rewards"]),
        "advantages": (advantages, seen["advantages"]),
        "whitened advantages": (_whitened(advantages), seen["whitened"]),
    }
    return {name: float((mine - theirs).abs().max()) for name, (mine, theirs) in pairs.items()}


def _whitened(values: Tensor) -> Tensor:
    """With TRL's unbiased variance; ours is that of the 2019 code, larger by 1 in the number of tokens."""
    return (values - values.mean()) / (values.var(correction=1) + 1e-8).sqrt()


def _logprobs(folder: Path, queries: Tensor, responses: Tensor) -> Tensor:
    policy = Policy(LanguageModel.load(folder))
    with torch.no_grad():
        said: Tensor = policy(
            queries, torch.ones_like(queries, dtype=torch.bool), responses, temperature=TEMPERATURE
        ).logprobs
    return said
