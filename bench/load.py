"""How many labels per second the site takes, and how long a lease and a label take.

Run from the repository root: `python -m bench load human` (200 labelers at a person's pace for three minutes) or
`python -m bench load saturation` (32 clients that lease, answer and go on at once). The web server, the workers that
need no model, PostgreSQL and Valkey run as `prefloop up` runs them; that commits are durable is asserted. Every request
carries the cookie of a session and passes the refusal of forged requests. Ends with an error if a label was lost,
doubled or refused. Prints one JSON line per measurement.
"""

import argparse
import asyncio
import json
import math
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from bench import _load_site as site
from bench._load_client import Crowd, Measured

LABELERS, HUMAN_SECONDS, SECONDS_PER_LABEL = 200, 180.0, 6.0
CLIENTS, SATURATION_SECONDS = 32, 30.0
MOST_PER_SECOND = 1000
"""Labels per second that a supply is laid out for."""
WARM_UP_SECONDS = 5.0
"""Of the clients, before what is measured: connections and prepared statements are there then."""


def human(options: argparse.Namespace, total: int) -> dict[str, object]:
    """People who read, think and choose."""
    needed = math.ceil(2 * options.seconds / SECONDS_PER_LABEL * options.labelers)
    return _measure(options, total, needed, options.labelers, saturate=False)


def saturation(options: argparse.Namespace, total: int) -> dict[str, object]:
    """Clients that never wait."""
    needed = math.ceil((options.seconds + WARM_UP_SECONDS) * MOST_PER_SECOND)
    return _measure(options, total, needed, options.labelers, saturate=True)


def _measure(options: argparse.Namespace, total: int, needed: int, people: int, *, saturate: bool) -> dict[str, object]:
    home = Path(tempfile.mkdtemp(prefix="prefloop-load-", dir=options.folder))
    try:
        with site.running(home) as made:
            ready = min(total, max(total // 2, needed))
            run = site.fill(made, total=total, ready=ready, wanted=min(people, math.ceil(needed / ready)))
            crowd = Crowd(host=made.host, port=made.port, run=str(run), cookies=site.signed_in(made, people))
            if saturate:
                asyncio.run(crowd.saturate(WARM_UP_SECONDS))
            warm, crowd.measured = crowd.measured, Measured()
            before, begun = _cpu_seconds(), time.perf_counter()
            if saturate:
                asyncio.run(crowd.saturate(options.seconds))
            else:
                asyncio.run(crowd.label(options.seconds, seconds_per_label=SECONDS_PER_LABEL, seed=options.seed))
            seconds = time.perf_counter() - begun
            spent = {name: round(used - before.get(name, 0.0), 1) for name, used in _cpu_seconds().items()}
            site.require_sound(made, [*warm.labels, *crowd.measured.labels])
            for error in [*warm.errors, *crowd.measured.errors][:5]:
                print(error, file=sys.stderr)
            return {
                "comparisons": total,
                "people": people,
                "seconds": round(seconds, 1),
                **crowd.measured.rows(),
                "labels_per_second": round(len(crowd.measured.labels) / seconds, 1),
                "cpu_seconds": spent,
            }
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _cpu_seconds() -> dict[str, float]:
    """CPU time so far of this process and of what it started, by program."""
    mine = psutil.Process()
    spent = {"client": sum(mine.cpu_times()[:2])}
    for process in mine.children(recursive=True):
        try:
            line, used = " ".join(process.cmdline()), sum(process.cpu_times()[:2])
        except psutil.Error:
            continue
        name = next((one for one in ("postgres", "valkey", "uvicorn", "control", "beat") if one in line), "other")
        spent[name] = spent.get(name, 0.0) + used
    return spent


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure each size in turn."""
    parser = argparse.ArgumentParser(prog="python -m bench load", description=__doc__)
    parser.add_argument("pace", choices=("human", "saturation"))
    parser.add_argument("--comparisons", type=int, nargs="+", default=[1_000, 1_000_000], help="in the tables")
    parser.add_argument("--labelers", type=int, help=f"default {LABELERS}, or {CLIENTS} at saturation")
    parser.add_argument("--seconds", type=float, help=f"default {HUMAN_SECONDS:.0f}, or {SATURATION_SECONDS:.0f}")
    parser.add_argument("--folder", type=Path, help="on whose disk the database lies for the time being")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    saturate = options.pace == "saturation"
    options.labelers = options.labelers or (CLIENTS if saturate else LABELERS)
    options.seconds = options.seconds or (SATURATION_SECONDS if saturate else HUMAN_SECONDS)
    failed = False
    for total in options.comparisons:
        found = (saturation if saturate else human)(options, total)
        print(json.dumps({"pace": options.pace} | found), flush=True)
        failed |= bool(found["errors"])
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
