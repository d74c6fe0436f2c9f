"""Figures of one worker process for Prometheus: what became of its jobs, how long they took, and its ticks.

Instruments belong to the process, as loggers do. The site tells the state of the whole plant; these tell of this
process what the tables do not keep.
"""

from prometheus_client import Counter, Gauge, Histogram

JOB_BUCKETS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0)

JOB_SECONDS = Histogram(
    "prefloop_job_seconds", "Seconds from a claim to its end.", ("kind", "outcome"), buckets=JOB_BUCKETS
)
"""Outcomes: done, failed (it raised), lost (another worker has it now)."""
JOBS_RUNNING = Gauge("prefloop_jobs_running", "Jobs that this process works on.", ("kind",))
RUNS_ADVANCED = Counter("prefloop_advances", "Looks at a run.", ("found",))
"""Found: actions, nothing."""
TICKS = Counter("prefloop_ticks", "Ticks done.")
LAST_TICK = Gauge("prefloop_last_tick_timestamp_seconds", "When the last tick ended.")
TICKS_SENT = Counter("prefloop_ticks_sent", "Messages that the beat sent.", ("task",))
GPU_BYTES = Gauge("prefloop_gpu_bytes", "Memory of this process's GPU.", ("gpu", "which"))
"""Which: used (by whomever), total, reserved (by this process)."""
