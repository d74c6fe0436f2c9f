"""TRL's PPO trainer in episodes per second, with random weights and no hub access; prints one JSON line.

Run by `bench.ppo` in the environment of `bench/peers.txt`. One step is: sample, score by policy, reference, reward and
value model, then the PPO epochs; the first `--warmup` steps are not counted. TRL's trainer makes its own Accelerator
and gives it no precision, so autocast is forced from outside by ACCELERATE_MIXED_PRECISION=bf16; what it really uses is
reported as `mixed_precision`. With `--record FILE` the first step's tensors are kept for comparison.
"""

import argparse
import contextlib
import io
import json
import math
import resource
import statistics
import tempfile
import time
from pathlib import Path

import torch
import transformers
import trl
import trl.experimental.ppo.ppo_trainer as ppo
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import (
    GPT2Config,
    GPT2ForSequenceClassification,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
    TrainerCallback,
)

VOCABULARY, EOS, PAD = 50257, 50256, 50255


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("layers", "width", "heads", "query", "response", "batch", "epochs", "steps", "warmup", "threads"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--lane", choices=("fp32", "fp32-onednn", "bf16", "bf16-flag"), required=True)
    parser.add_argument("--gradient-checkpointing", action="store_true", help="TRL's default; slower")
    parser.add_argument("--record", type=Path)
    return parser.parse_args()


def tokenizer():
    words = {f"w{i}": i for i in range(VOCABULARY)}
    model = Tokenizer(WordLevel(words, unk_token="w0"))
    made = PreTrainedTokenizerFast(tokenizer_object=model, eos_token=f"w{EOS}", pad_token=f"w{PAD}")
    made.padding_side = "left"
    return made


def models(options):
    """Policy, reference, value and reward model; the reference is the policy unless its KL is to be compared."""
    shape = {"n_layer": options.layers, "n_embd": options.width, "n_head": options.heads, "vocab_size": VOCABULARY}
    shape |= {"eos_token_id": EOS, "bos_token_id": EOS, "pad_token_id": PAD, "attn_implementation": "sdpa"}
    policy, reference = GPT2LMHeadModel(GPT2Config(**shape)), GPT2LMHeadModel(GPT2Config(**shape))
    if options.record is None:
        reference.load_state_dict(policy.state_dict())
    else:
        policy.save_pretrained(options.record / "policy")
        reference.save_pretrained(options.record / "reference")
    judges = [GPT2ForSequenceClassification(GPT2Config(num_labels=1, **shape)) for _ in range(2)]
    return policy, reference, *judges


def configuration(options, folder, total):
    return ppo.PPOConfig(
        output_dir=folder,
        per_device_train_batch_size=options.batch,
        gradient_accumulation_steps=1,
        num_mini_batches=1,
        num_ppo_epochs=options.epochs,
        local_rollout_forward_batch_size=options.batch,
        total_episodes=total,
        response_length=options.response,
        temperature=0.7,
        kl_coef=0.15,
        whiten_rewards=True,
        learning_rate=1e-5,
        num_sample_generations=0,
        gradient_checkpointing=options.gradient_checkpointing,
        bf16=options.lane in ("bf16", "bf16-flag"),
        use_cpu=not torch.cuda.is_available(),
        save_strategy="no",
        eval_strategy="no",
        report_to="none",
        logging_steps=1,
        disable_tqdm=True,
        seed=0,
    )


class Clock(TrainerCallback):
    """Seconds of each step and its phases, found where TRL's own functions are called."""

    def __init__(self):
        self.marks, self.steps, self.logged, self.cpu = {}, [], [], 0.0

    def around(self, function, before=None, after=None):
        def timed(*args, **kwargs):
            if before:
                self.marks[before] = now()
                self.cpu = time.process_time()
            result = function(*args, **kwargs)
            if after:
                self.marks[after] = now()
            return result

        return timed

    def on_step_end(self, args, state, control, **_):
        end, marks = now(), self.marks
        phases = (marks["generated"] - marks["start"], marks["scored"] - marks["generated"], end - marks["scored"])
        self.steps.append((end - marks["start"], *phases, time.process_time() - self.cpu))

    def on_log(self, args, state, control, logs=None, **_):
        self.logged.append(dict(logs or {}))


def now():
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


class Recorder:
    """Keeps what TRL's own functions were given and gave in the first rollout."""

    def __init__(self):
        self.seen = {}

    def calls(self, name, function, pick):
        def noted(*args, **kwargs):
            result = function(*args, **kwargs)
            self.seen.setdefault(name, []).append(pick(args, result).detach().clone())
            return result

        return noted

    def save(self, path, context):
        seen = self.seen
        torch.save(
            {
                "queries": seen["texts"][0][:, :context],
                "responses": seen["texts"][0][:, context:],
                "logprobs": seen["logprobs"][0],
                "ref_logprobs": seen["logprobs"][1],
                "values": seen["values"][0][:, context - 1 : -1].squeeze(-1),
                "scores": seen["scores"][1],
                "rewards": seen["to_whiten"][0],
                "advantages": seen["to_whiten"][1],
                "whitened": seen["whitened"][1],
            },
            path,
        )


def record(recorder):
    ppo.batch_generation = recorder.calls("texts", ppo.batch_generation, lambda args, result: result[0])
    ppo.selective_log_softmax = recorder.calls("logprobs", ppo.selective_log_softmax, lambda args, result: result)
    for name, place in (("values", 0), ("scores", 1)):
        ppo.get_reward = recorder.calls(name, ppo.get_reward, lambda args, result, place=place: result[place])
    ppo.masked_whiten = recorder.calls("to_whiten", ppo.masked_whiten, lambda args, result: args[0])
    ppo.masked_whiten = recorder.calls("whitened", ppo.masked_whiten, lambda args, result: result)


def main():
    options = parse()
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.lane == "fp32-onednn":
        torch.set_float32_matmul_precision("medium")
    transformers.logging.set_verbosity_error()
    torch.manual_seed(0)
    total = (options.steps + options.warmup) * options.batch
    rows = torch.randint(0, 50000, (total, options.query), generator=torch.Generator().manual_seed(0))
    data = Dataset.from_dict({"input_ids": rows.tolist()})
    policy, reference, value, reward = models(options)
    clock, recorder = Clock(), Recorder()
    if options.record is not None:
        record(recorder)
    ppo.batch_generation = clock.around(ppo.batch_generation, before="start", after="generated")
    ppo.masked_whiten = clock.around(ppo.masked_whiten, after="scored")  # its last call ends the rollout
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        trainer = ppo.PPOTrainer(
            args=configuration(options, folder, total),
            processing_class=tokenizer(),
            model=policy,
            ref_model=reference,
            reward_model=reward,
            value_model=value,
            train_dataset=data,
            eval_dataset=data.select(range(options.batch)),
            callbacks=[clock],
        )
        trainer.train()
    if options.record is not None:
        recorder.save(options.record / "rollout.pt", options.query)
    for row in clock.logged:
        for name in ("loss/policy_avg", "loss/value_avg", "objective/kl"):
            assert math.isfinite(row.get(name, 0.0)), (name, row)
    kept = clock.steps[options.warmup :]
    step, generate, score, update, cpu = (statistics.median(column) for column in zip(*kept, strict=True))
    facts = {
        "versions": {one.__name__: one.__version__ for one in (trl, transformers, torch)},
        "mixed_precision": trainer.accelerator.mixed_precision,
        "episodes_per_second": options.batch / step,
        "seconds": {"step": step, "generate": generate, "score": score, "update": update, "cpu": cpu},
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
