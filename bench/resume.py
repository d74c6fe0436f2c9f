"""Whether a PPO run that is killed with `kill -9` in the middle of updates is, bit for bit, the run that was not.

Run from the repository root: `python -m bench resume --model FOLDER --home DIR`. Float32, a known score, the state
saved after every update. One process runs unbroken; another is killed at random moments (by `--seed`) and started again
from its last saved state. Prints a table of both and one JSON line; exit code 1 if they differ anywhere but in time.
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bench._resumable import Settings, read_lines

ROOT = Path(__file__).parents[1]
NO_DIFFERENCE = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """A moment to kill at, or the place where it hit."""

    update: int
    """Counted from 0."""
    seconds: float
    """Since this update began."""
    stage: str = ""
    """What the program had said last."""


def compare(unbroken: Sequence[dict[str, Any]], killed: Sequence[dict[str, Any]]) -> list[str]:
    """For each update, what of it differs: `state`, names of statistics, or `-` for nothing.

    A state's digest is that of all tensors and numbers: policy, values, optimizer, KL coefficient, updates. An update
    that one side lacks is `missing`.
    """
    length = max(len(unbroken), len(killed))
    return [_difference(_at(unbroken, i), _at(killed, i)) for i in range(length)]


def moments(updates: int, kills: int, update_seconds: float, seed: int) -> list[Kill]:
    """When to kill: in different updates, the last one spared, anywhere between begin and end of each."""
    rng = random.Random(seed)
    chosen = sorted(rng.sample(range(updates - 1), kills))
    return [Kill(update=update, seconds=rng.uniform(0.05, 0.95) * update_seconds) for update in chosen]


def run(settings: Settings) -> None:
    """Run the program to its end."""
    done = subprocess.run(_command(settings), cwd=ROOT, stdout=subprocess.DEVNULL, check=False)
    if done.returncode:
        sys.exit(f"the program ended with code {done.returncode} before its updates were done; see above")


def run_and_kill(settings: Settings, kill: Kill) -> Kill:
    """Start the program and kill it, without a word, so long after it began an update; where it was hit."""
    with subprocess.Popen(_command(settings), cwd=ROOT, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        said = list(_until_update(program.stdout, kill.update))
        time.sleep(kill.seconds)
        program.kill()
        said += map(json.loads, program.stdout)
    if program.returncode != -9:
        sys.exit("the program had ended before it could be killed: take more updates or larger batches")
    return replace(kill, update=said[-1]["update"], stage=said[-1]["stage"])


def _until_update(lines: Iterator[str], update: int) -> Iterator[dict[str, Any]]:
    for line in lines:
        said = json.loads(line)
        yield said
        if said["update"] >= update:
            return


def _command(settings: Settings) -> list[str]:
    return [sys.executable, "-m", "bench._resumable", json.dumps(asdict(settings))]


def _at(lines: Sequence[dict[str, Any]], place: int) -> dict[str, Any] | None:
    return lines[place] if place < len(lines) else None


def _difference(one: dict[str, Any] | None, other: dict[str, Any] | None) -> str:
    if one is None or other is None:
        return "missing"
    names = one["stats"].keys() | other["stats"].keys()
    wrong = {name for name in names if one["stats"].get(name) != other["stats"].get(name)}
    wrong = {name for name in wrong if not name.startswith("time/")}
    return ", ".join([*["state"] * (one["state"] != other["state"]), *sorted(wrong)]) or NO_DIFFERENCE


def _table(unbroken: Sequence[dict[str, Any]], killed: Sequence[dict[str, Any]], differences: list[str]) -> str:
    rows = ["| update | score | KL | KL coefficient | state, unbroken | state, killed | differs |", "|---" * 7 + "|"]
    for number, (one, other, difference) in enumerate(zip(unbroken, killed, differences, strict=False)):
        stats = one["stats"]
        figures = f"{stats['objective/score']:.4f} | {stats['objective/kl']:.4f} | {stats['objective/kl_coef']:.6f}"
        rows.append(f"| {number} | {figures} | {one['state'][:12]} | {other['state'][:12]} | {difference} |")
    return "\n".join(rows)


def _folders(home: Path) -> list[Path]:
    found = [home / "unbroken", home / "killed"]
    if any(folder.exists() for folder in found):
        sys.exit(f"{home} holds an earlier comparison: give another folder, or remove it")
    for folder in found:
        folder.mkdir(parents=True)
    return found


def _options(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench resume", description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="folder of the language model")
    parser.add_argument(
        "--home", type=Path, required=True, help="folder for states, about ten times the size of the model"
    )
    parser.add_argument("--updates", type=int, default=12)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--batch", type=int, default=8, help="episodes per update, at least 8")
    parser.add_argument("--judge", default="vader", help="known score, as of prefloop train")
    parser.add_argument("--seed", type=int, default=1, help="of the training and of the moments")
    parser.add_argument("--threads", type=int, default=0, help="of the program; 0: as PyTorch finds them")
    options = parser.parse_args(words)
    if not 0 <= options.kills < options.updates:
        parser.error("--kills must be below --updates")
    return options


def main(words: Sequence[str]) -> None:
    """Run both, compare, print, exit."""
    options = _options(words)
    shared = {name: getattr(options, name) for name in ("updates", "batch", "judge", "seed", "threads")}
    model, home = str(options.model.absolute()), options.home.absolute()
    unbroken, killed = (Settings(home=str(folder), model=model, **shared) for folder in _folders(home))
    run(unbroken)
    straight = read_lines(Path(unbroken.home))
    usual = statistics.median(line["seconds"] for line in straight)
    hits = [run_and_kill(killed, kill) for kill in moments(options.updates, options.kills, usual, options.seed)]
    run(killed)
    broken = read_lines(Path(killed.home))
    differences = compare(straight, broken)
    equal = set(differences) == {NO_DIFFERENCE}
    print(_table(straight, broken, differences))
    facts = {"model": options.model.name, "bf16": False, **shared, "kills": [asdict(hit) for hit in hits]}
    print(json.dumps({"bench": "resume", **facts, "update_seconds": usual, "equal": equal}))
    sys.exit(0 if equal else 1)


if __name__ == "__main__":
    main(sys.argv[1:])
