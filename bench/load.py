"""How many labels per second the site takes, and how long a lease and a label take.

Run from the repository root: `python -m bench load` measures 32 clients that lease, answer and go on at once
(saturation), then 200 labelers at a person's pace for three minutes (human), with 1,000 and with 1,000,000 comparisons
in the tables; about a quarter of an hour. `python -m bench load training --model FOLDER` measures 8 labelers at a
person's pace while PPO trains. The web server, the workers, PostgreSQL and Valkey run as `prefloop up` runs them; that
commits are durable is asserted. Every request carries the cookie of a session (under `training` a token) and passes the
refusal of forged requests. Ends with an error if a label was lost, doubled or refused. Prints one JSON line per
measurement, with the CPU milliseconds that a label cost each program.
"""

import argparse
import json
import math
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import uvloop

from bench import _load_site as site
from bench._load_client import Crowd, Measured
from bench._load_plans import plans
from bench._load_training import training

PACES = ("saturation", "human", "training")
LABELERS, HUMAN_SECONDS, SECONDS_PER_LABEL = 200, 180.0, 6.0
CLIENTS, SATURATION_SECONDS = 32, 30.0
MOST_PER_SECOND = 450
"""Labels per second that a supply is laid out for. A thousand comparisons then want fewer answers each than there are
clients, so that they get all of them and leave the queue, as on any site."""
WARM_UP_SECONDS = 5.0
"""Of the clients, before what is measured: connections and prepared statements are there then."""
PROGRAMS = ("postgres", "valkey", "uvicorn", "control", "beat")


def measure(options: argparse.Namespace, total: int) -> list[dict[str, Any]]:
    """Each pace in turn, on one site with `total` comparisons."""
    home = Path(tempfile.mkdtemp(prefix="prefloop-load-", dir=options.folder))
    people = max(options.clients, options.labelers)
    found = []
    try:
        with site.running(home) as made:
            needed = (options.seconds + WARM_UP_SECONDS) * MOST_PER_SECOND
            needed += 2 * options.human_seconds / SECONDS_PER_LABEL * options.labelers
            ready = min(total, max(total // 2, math.ceil(needed)))
            run = site.fill(made, total=total, ready=ready, wanted=min(people, math.ceil(needed / ready)))
            secrets = site.signed_in(made, people)
            print(json.dumps({"comparisons": total, "plans": plans(made, run)}), flush=True)
            for pace in options.paces:
                those = secrets[: options.clients] if pace == "saturation" else secrets[-options.labelers :]
                crowd = Crowd(host=made.host, port=made.port, run=str(run), secrets=those)
                found.append({"pace": pace, "comparisons": total} | _measured(crowd, options, pace, made))
                print(json.dumps(found[-1]), flush=True)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    return found


def _measured(crowd: Crowd, options: argparse.Namespace, pace: str, made: site.Site) -> dict[str, Any]:
    if pace == "saturation":
        uvloop.run(crowd.saturate(WARM_UP_SECONDS))
    warm, crowd.measured = crowd.measured, Measured()
    before, begun = _cpu_seconds(), time.perf_counter()
    if pace == "saturation":
        uvloop.run(crowd.saturate(options.seconds))
    else:
        uvloop.run(crowd.label(options.human_seconds, seconds_per_label=SECONDS_PER_LABEL, seed=options.seed))
    seconds = time.perf_counter() - begun
    spent = {name: used - before.get(name, 0.0) for name, used in _cpu_seconds().items()}
    site.require_sound(made, [*warm.labels, *crowd.measured.labels])
    for error in [*warm.errors, *crowd.measured.errors][:5]:
        print(error, file=sys.stderr)
    labels = len(crowd.measured.labels)
    return {
        "people": len(crowd.secrets),
        "seconds": round(seconds, 1),
        **crowd.measured.rows(),
        "labels_per_second": round(labels / seconds, 1),
        "cpu_ms_per_label": {name: round(1000 * used / max(1, labels), 2) for name, used in spent.items()},
        "cores_used": round(sum(spent.values()) / seconds, 2),
    }


def _cpu_seconds() -> dict[str, float]:
    """CPU time so far of this process and of what it started, by program."""
    mine = psutil.Process()
    spent = {"client": sum(mine.cpu_times()[:2])}
    for child in mine.children():
        line = " ".join(child.cmdline())
        name = next((one for one in PROGRAMS if one in line), "other")
        spent[name] = spent.get(name, 0.0) + sum(_used(one) for one in (child, *child.children(recursive=True)))
    return spent


def _used(process: psutil.Process) -> float:
    """Seconds, those of its children that have ended among them."""
    try:
        return float(sum(process.cpu_times()[:4]))
    except psutil.NoSuchProcess:
        return 0.0


def _apart(found: Sequence[dict[str, Any]]) -> None:
    """Say how far the smallest and the largest tables are apart."""
    rates = {one["comparisons"]: one["labels_per_second"] for one in found if one["pace"] == "saturation"}
    if len(rates) > 1:
        few, many = rates[min(rates)], rates[max(rates)]
        print(json.dumps({"labels_per_second": rates, "times_apart": round(max(few, many) / min(few, many), 2)}))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m bench load", description=__doc__)
    parser.add_argument("paces", nargs="*", metavar="PACE", help=f"any of {', '.join(PACES)}; none: the first two")
    parser.add_argument("--comparisons", type=int, nargs="+", default=[1_000, 1_000_000], help="in the tables")
    parser.add_argument("--clients", type=int, default=CLIENTS, help="that never wait")
    parser.add_argument("--labelers", type=int, default=LABELERS, help="at a person's pace")
    parser.add_argument("--seconds", type=float, default=SATURATION_SECONDS, help="of saturation")
    parser.add_argument("--human-seconds", type=float, default=HUMAN_SECONDS, help="at a person's pace")
    parser.add_argument("--folder", type=Path, help="on whose disk the database lies for the time being")
    parser.add_argument("--model", help="with `training`: the base model that trains")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    options.paces = options.paces or list(PACES[:2])
    if unknown := set(options.paces) - set(PACES):  # `choices` would refuse that none is given
        parser.error(f"{', '.join(sorted(unknown))} is no pace: give any of {', '.join(PACES)}")
    if options.folder is not None and not options.folder.is_dir():
        parser.error(f"{options.folder} is no folder: make it first")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure each size in turn."""
    options = parse(arguments)
    if "training" in options.paces:
        found = [training(options, SECONDS_PER_LABEL)]
        print(json.dumps(found[0]), flush=True)
    else:
        found = [row for total in options.comparisons for row in measure(options, total)]
        _apart(found)
    if any(row.get("episodes") == 0 for row in found):
        print("PPO did no update meanwhile: give more --human-seconds", file=sys.stderr)
    sys.exit(1 if any(row["errors"] or row.get("episodes") == 0 for row in found) else 0)


if __name__ == "__main__":
    main()
