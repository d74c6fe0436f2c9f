"""Reward heads by the names that the command line takes."""

import re

from app.errors import InvalidError
from app.hparams import PAPER_HEAD, PROBE_HEADS, Pooling, Readout, RewardHead, RewardHParams

NAMED: dict[str, tuple[RewardHead, ...]] = {
    "paper": (PAPER_HEAD,),
    "probe": PROBE_HEADS,
    "tuned-mean": (RewardHead(readouts=(Readout(pooling=Pooling.MEAN),), tuned=True),),
    "tuned-attention": (RewardHead(readouts=(Readout(pooling=Pooling.ATTENTION),), tuned=True),),
}
_READOUT = re.compile(r"(last|mean|attention)@(\d*\.?\d+)")


def with_heads(base: RewardHParams, name: str) -> RewardHParams:
    """The hyperparameters with the heads of that name.

    Args:
        name: one of `NAMED`; or places such as `mean@0.5+last@1`, read side by side, after `tuned:` where the trunk is
            trained; `*5` behind it makes an ensemble of five.
    Raises: InvalidError if it is none of these.
    """
    plain, _, members = name.partition("*")
    if members and not (members.isdigit() and int(members) > 0):
        raise InvalidError(f"{name}: write the members of an ensemble as a number, such as probe*5.")
    ensemble = {"ensemble": int(members)} if members else {}
    return base.model_copy(update={"heads": NAMED.get(plain) or (_parsed(plain),), **ensemble})


def _parsed(name: str) -> RewardHead:
    places, tuned = name.removeprefix("tuned:"), name.startswith("tuned:")
    found = [_READOUT.fullmatch(place) for place in places.split("+")]
    try:
        readouts = tuple(Readout(pooling=Pooling(one[1]), depth=float(one[2])) for one in found if one is not None)
        if len(readouts) != len(found):
            raise ValueError(f"give one of {', '.join(NAMED)}, or places such as mean@0.5+last@1")
        return RewardHead(readouts=readouts, tuned=tuned)
    except ValueError as error:
        raise InvalidError(f"No head {name!r}: {error}") from error
