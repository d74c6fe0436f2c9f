"""What is done to it. Each event says what it did; `rng` alone chooses."""

import signal
import time
from collections.abc import Callable
from random import Random
from resource import RLIM_INFINITY, RLIMIT_FSIZE

import psutil
from kombu import Connection
from sqlalchemy.orm import Session

from app.jobs import WORK, Queue
from app.models import Checkpoint
from tests.chaos.world import World
from tests.processes import wait_until

Happen = Callable[[World, Random], str]

HOUR = 3600
GARBAGE = (b"not even JSON", b"{}", b'{"body": "", "headers": {}, "properties": {}}')


def kill_web(world: World, _: Random) -> str:
    """Of the web server."""
    return _kill(world, "web")


def kill_trainer(world: World, _: Random) -> str:
    """Of the trainer, whatever it does."""
    return _kill(world, "trainer")


def kill_control(world: World, _: Random) -> str:
    """Of the control worker."""
    return _kill(world, "control")


def kill_beat(world: World, _: Random) -> str:
    """Of what makes the tick."""
    return _kill(world, "tick")


def empty_broker(world: World, _: Random) -> str:
    """All messages are gone, and it is killed."""
    with world.valkey.connect() as client:
        client.flushall()
    return f"emptied, {_kill(world, 'valkey')}"


def restart_postgres(world: World, rng: Random) -> str:
    """At once, or as an operator does."""
    which = rng.choice([signal.SIGKILL, signal.SIGINT])
    world.prefloop.part("postgres").send_signal(which)
    return f"PostgreSQL got {which.name}"


def fill_disk(world: World, rng: Random) -> str:
    """The trainer can write nothing longer than a page for some seconds."""
    trainer, seconds = world.prefloop.part("trainer"), rng.uniform(3, 8)
    try:
        trainer.rlimit(RLIMIT_FSIZE, (4096, RLIM_INFINITY))
        time.sleep(seconds)
        trainer.rlimit(RLIMIT_FSIZE, (RLIM_INFINITY, RLIM_INFINITY))
    except psutil.NoSuchProcess:
        return "the trainer ended for want of room"
    return f"no room for {seconds:.0f} s"


def jump_clock(world: World, rng: Random) -> str:
    """The clock of the whole machine, database included, for the time until the next jump."""
    ahead = rng.choice([HOUR, -2 * HOUR, 9 * HOUR, -30])
    world.clock.write_text(f"{ahead:+d}")
    return f"the clock is {ahead:+d} s off"


def poison_broker(world: World, rng: Random) -> str:
    """Messages that are none, and some for jobs that are none."""
    queue = rng.choice(list(Queue))
    with world.valkey.connect() as client:
        for message in GARBAGE:
            client.lpush(queue.value, message)
    with Connection(world.valkey.url) as connection, connection.Producer(serializer="json") as producer:
        for task, words in ((WORK, ["no id"]), ("nobody.knows", []), (WORK, [])):
            headers = {"task": task, "id": f"poison-{rng.random()}", "lang": "py"}
            producer.publish((words, {}, {}), routing_key=queue.value, headers=headers)
    return f"garbage in {queue.value}"


def poison_job(world: World, _: Random) -> str:
    """An import that cannot be read."""
    upload = world.post("/api/v1/uploads?name=broken.jsonl", b'{"prompt": 1}\n\xff\xfe\x00{')
    world.post(f"/api/v1/runs/{world.run_id}/labels/imports", {"source": upload["source"]})
    return "an import of garbage"


def corrupt_checkpoint(world: World, rng: Random) -> str:
    """A bit of what PPO goes on from turns, and the trainer that has it in memory dies."""
    found: list[str] = []

    def has_state() -> bool:
        with Session(world.engine) as session:
            state = session.get(Checkpoint, world.run(session).training_state_id or world.run_id)
            found[:] = [state.digest] if state is not None else []
        return bool(found)

    try:
        wait_until("a training state", has_state, seconds=300)
        path = next((world.store.root / found[0]).glob("*.safetensors"))
        content = bytearray(path.read_bytes())
        content[rng.randrange(len(content) // 2, len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
    except (StopIteration, FileNotFoundError):  # a newer one took its place meanwhile
        return "nothing: the state was gone already"
    return f"{path.parent.name[:8]}/{path.name} is corrupt, {_kill(world, 'trainer')}"


EVENTS: tuple[Happen, ...] = (
    kill_web,
    kill_trainer,
    kill_control,
    kill_beat,
    empty_broker,
    restart_postgres,
    fill_disk,
    jump_clock,
    poison_broker,
    poison_job,
    corrupt_checkpoint,
)


def planned(count: int, rng: Random) -> list[Happen]:
    """Each of them at least once if there is room, in any order; corruption when there is something to corrupt."""
    chosen = [*EVENTS, *rng.choices(EVENTS, k=max(0, count - len(EVENTS)))][:count]
    rng.shuffle(chosen)
    return chosen


def _kill(world: World, part: str) -> str:
    process = world.prefloop.part(part)
    process.kill()
    return f"{part} killed"
