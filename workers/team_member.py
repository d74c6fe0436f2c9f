"""One of several processes that train together, as `torchrun` starts it: carries out orders until its trainer goes.

    torchrun --nproc-per-node N --no-python python -m workers.team_member SOCKET EQUIPMENT

The first process alone asks and tells the trainer, saves and publishes; all compute.
"""

import os
import sys
from multiprocessing.connection import Client, Connection
from signal import SIGKILL
from typing import Any

import torch
import torch.distributed as dist

from app import launch, logs
from app.settings import Settings
from workers import ppo_job, quiet
from workers.ranks import Ranks
from workers.sharding import Sharding
from workers.team_words import (
    Done,
    Equipment,
    FitReward,
    Here,
    MayGoOn,
    Order,
    Raised,
    TrainPolicy,
    Updated,
)
from workers.workshop import Workshop


class Member:
    """A process that has joined its group."""

    def __init__(self, trainer: Connection, workshop: Workshop) -> None:
        self._trainer = trainer
        self._workshop = workshop

    def serve(self) -> None:
        """Carry orders out until the trainer hangs up."""
        self._trainer.send(Here(rank=self._workshop.ranks.rank, pid=os.getpid()))
        while True:
            try:
                order: Order = self._trainer.recv()
            except EOFError:
                return
            self._trainer.send(self._answer(order))

    def _answer(self, order: Order) -> Done | Raised:
        try:
            return Done(result=self._do(order))
        except Exception as error:  # the trainer judges; what is left here is half-done, so it ends the team
            return Raised.by(error, self._workshop.ranks.rank)

    def _do(self, order: Order) -> Any:
        self._workshop.ranks.in_turn(lambda: self._workshop.reference(order.plan.reference))  # it may be fetched
        match order:
            case TrainPolicy(plan=plan):
                return ppo_job.run(self._workshop, plan, may_go_on=self._ask, told=self._tell)
            case FitReward(plan=plan):
                return self._workshop.fit_reward(plan)

    def _ask(self) -> bool:
        self._trainer.send(MayGoOn())
        return bool(self._trainer.recv())

    def _tell(self, update: int, stats: dict[str, float]) -> None:
        if self._workshop.ranks.rank == 0:
            self._trainer.send(Updated(update=update, stats=stats))


def join(sharding: Sharding) -> Ranks:
    """Join the group that torchrun's environment names; one GPU for each process, where there are any."""
    if torch.cuda.is_available():
        torch.cuda.set_device(dist.get_node_local_rank())
        dist.init_process_group("cpu:gloo,cuda:nccl")
    else:
        dist.init_process_group("gloo")
    return Ranks(rank=dist.get_rank(), size=dist.get_world_size(), sharding=sharding)


def main(address: str, equipment: Equipment) -> None:
    """Live as long as the trainer does."""
    launch.die_with_parent(SIGKILL, os.getppid())
    ranks, settings = join(equipment.sharding), Settings()
    logs.configure(settings.log_level if ranks.rank == 0 else "WARNING", settings.log_format)
    quiet.no_bars()
    workshop = Workshop(
        equipment.home,
        threads=equipment.threads,
        models=equipment.models,
        store=equipment.store,
        ranks=ranks,
        compiled=equipment.compiled,
    )
    with Client(address, "AF_UNIX") as trainer:
        Member(trainer, workshop).serve()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], Equipment.from_json(sys.argv[2]))
