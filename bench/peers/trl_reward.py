"""TRL's RewardTrainer in labels per second, each best-of-k label written as k - 1 pairs; prints one JSON line.

Run by `bench.reward` in the environment of `bench/peers.txt`, on random weights and tokens; the first step is not
counted. No gradient checkpointing, which is TRL's default and slower.
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

import torch
import transformers
import trl
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import GPT2Config, GPT2ForSequenceClassification, PreTrainedTokenizerFast, TrainerCallback

VOCABULARY, EOS, PAD = 50257, 50256, 50255


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("layers", "width", "heads", "query", "response", "samples", "batch", "steps", "threads"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--lane", choices=("fp32", "fp32-onednn", "bf16"), required=True)
    return parser.parse_args()


def pairs(options):
    """Of each label the first sample against every other one."""
    generator = torch.Generator().manual_seed(0)
    rows = []
    for _ in range(options.batch * (options.steps + 1)):
        query = torch.randint(0, 50000, (options.query,), generator=generator).tolist()
        written = torch.randint(0, 50000, (options.samples, options.response), generator=generator).tolist()
        rows += [{"chosen_ids": query + written[0], "rejected_ids": query + other} for other in written[1:]]
    return Dataset.from_list(rows)


class Clock(TrainerCallback):
    """Seconds and CPU seconds of each step."""

    def __init__(self):
        self.steps, self.began, self.losses = [], None, []

    def on_step_begin(self, args, state, control, **_):
        self.began = time.perf_counter(), time.process_time()

    def on_step_end(self, args, state, control, **_):
        self.steps.append((time.perf_counter() - self.began[0], time.process_time() - self.began[1]))

    def on_log(self, args, state, control, logs=None, **_):
        self.losses += [logs["loss"]] if "loss" in (logs or {}) else []


def main():
    options = parse()
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.lane == "fp32-onednn":
        torch.set_float32_matmul_precision("medium")
    transformers.logging.set_verbosity_error()
    torch.manual_seed(0)
    words = {f"w{i}": i for i in range(VOCABULARY)}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(words, unk_token="w0")), eos_token=f"w{EOS}", pad_token=f"w{PAD}"
    )
    shape = {"n_layer": options.layers, "n_embd": options.width, "n_head": options.heads, "vocab_size": VOCABULARY}
    model = GPT2ForSequenceClassification(
        GPT2Config(num_labels=1, pad_token_id=PAD, eos_token_id=EOS, bos_token_id=EOS, **shape)
    )
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        trainer = trl.RewardTrainer(
            model=model,
            args=trl.RewardConfig(
                output_dir=folder,
                per_device_train_batch_size=options.batch * (options.samples - 1),
                gradient_checkpointing=False,
                max_steps=options.steps + 1,
                max_length=None,
                learning_rate=1e-5,
                bf16=options.lane == "bf16",
                use_cpu=not torch.cuda.is_available(),
                save_strategy="no",
                report_to="none",
                logging_steps=1,
                disable_tqdm=True,
                seed=0,
            ),
            processing_class=tokenizer,
            train_dataset=pairs(options),
            callbacks=[clock],
        )
        trainer.train()
    assert clock.losses, "TRL logged no loss"
    assert all(map(math.isfinite, clock.losses)), clock.losses
    seconds, cpu = (statistics.median(column) for column in zip(*clock.steps[1:], strict=True))
    facts = {
        "versions": {one.__name__: one.__version__ for one in (trl, transformers, torch)},
        "labels_per_second": options.batch / seconds,
        "cpu_per_label": cpu / options.batch,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
