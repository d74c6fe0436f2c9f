"""Bodies of the API of blind head-to-heads."""

from typing import Annotated, Self
from uuid import UUID

from pydantic import BaseModel, Field

from app.models import Contest
from app.web.schemas import Body, Reason, Time


class NewContest(Body):
    """Two writers; see `app.contests.create` for their names."""

    left: Reason
    right: Reason = "reference"
    prompts: Annotated[int, Field(ge=1)] = 64
    per_side: Annotated[int, Field(ge=1, le=2)] = 1
    labelers: Annotated[int, Field(ge=1, le=9)] = 3
    seed: Annotated[int, Field(ge=0)] = 0
    own_session: bool = False
    """Keep its comparisons out of the labeling queue, for a page of their own: `/contests/{id}/label`."""


class ContestOut(BaseModel):
    """A contest in a list."""

    id: UUID
    run_id: UUID
    left: str
    right: str
    prompts: int
    per_side: int
    labelers: int
    own_session: bool
    created_at: Time
    written_at: Time | None

    @classmethod
    def of(cls, contest: Contest) -> Self:
        """From its row."""
        return cls(
            id=contest.id,
            run_id=contest.run_id,
            left=contest.left["name"],
            right=contest.right["name"],
            prompts=contest.prompts,
            per_side=contest.per_side,
            labelers=contest.labelers,
            own_session=contest.own_session,
            created_at=contest.created_at,
            written_at=contest.written_at,
        )


class ContestsOut(BaseModel):
    """Contests, newest first."""

    contests: list[ContestOut]
