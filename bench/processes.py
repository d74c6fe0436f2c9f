"""PPO in episodes per second by how many processes train together, a GPU for each where there are any.

    python -m bench processes --model 124m --processes 1,2,4,8 --batch 512

The same batch whatever their number, random weights of GPT-2's shapes, processes started by torchrun as a trainer does
it. With one GPU, or none, `--processes 1,2` runs on the cores of the processor. Prints a table and one JSON line.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from argparse import Namespace

import torch

from bench._ppo_ours import Stopwatch, batches, make_reward, make_trainer, one_step
from bench._shapes import SHAPES, machine
from workers.nets import precision
from workers.rlhf.types import QueryBatch
from workers.team_member import join


def options_of(words: list[str]) -> Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m bench processes", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--model", default="124m", choices=SHAPES)
    parser.add_argument("--processes", default="1,2")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--query", type=int, default=64)
    parser.add_argument("--response", type=int, default=24)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--frozen", type=int, default=0)
    parser.add_argument("--member", action="store_true", help="be one of the processes")
    options = parser.parse_args(words)
    shape = SHAPES[options.model]
    fixed = {"warmup": 1, "separate": False, "plain_trunk": False, "compiled": False, "micro": 0, "reward": "model"}
    return Namespace(**vars(options) | fixed, layers=shape.layers, width=shape.width, heads=shape.heads)


def member(options: Namespace) -> None:
    """Time updates with the others; the first prints the seconds of each."""
    ranks = join("never")
    device = f"cuda:{ranks.rank}" if torch.cuda.is_available() else "cpu"
    bf16 = precision.configure(device, max(1, torch.get_num_threads())).bf16
    trainer = make_trainer(options, bf16=bf16, device=device, ranks=ranks)
    reward = make_reward(options, trainer)
    watch, seconds = Stopwatch(trainer.reference), []
    for ids in batches(options):
        queries = QueryBatch.same(ids.to(device), (ids >= 0).to(device))
        began = time.perf_counter()
        one_step(trainer, queries, reward, watch)
        seconds.append(time.perf_counter() - began)
    if ranks.rank == 0:
        print(json.dumps(seconds[options.warmup :]))
    torch.distributed.destroy_process_group()


def measure(words: list[str], processes: int) -> list[float]:
    """Seconds of each update, as the first of so many processes prints them."""
    torchrun = ("torch.distributed.run", "--standalone", "--local-addr=127.0.0.1", f"--nproc-per-node={processes}")
    command = [sys.executable, "-m", *torchrun, "-m", "bench.processes", *words, "--member"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: list[float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main(words: list[str]) -> None:
    """Measure each number of processes in turn."""
    options = options_of(words)
    if options.member:
        member(options)
        return
    rates: dict[int, float] = {}
    for processes in map(int, options.processes.split(",")):
        rates[processes] = options.batch / statistics.median(measure(words, processes))
        first = next(iter(rates.values()))
        print(f"{processes:3} processes {rates[processes]:10.1f} episodes/s {rates[processes] / first:6.2f} x")
    print(json.dumps({"episodes_per_second": rates, "model": options.model, "batch": options.batch} | machine()))


if __name__ == "__main__":
    main(sys.argv[1:])
