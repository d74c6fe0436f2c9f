"""Worker processes, as each of them says every few seconds."""

from datetime import datetime

from sqlalchemy import BigInteger, String, func
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base


class Worker(Base):
    """One process that serves queues. The row goes with a clean stop, and stays when the process was killed."""

    __tablename__ = "worker"

    name: Mapped[str] = mapped_column(primary_key=True)
    """Host and process, as `job.worker` has it."""
    queues: Mapped[list[str]] = mapped_column(ARRAY(String))
    started_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    seen_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    memory_bytes: Mapped[int] = mapped_column(BigInteger)
    """Of the process, resident."""
    gpu: Mapped[str | None]
    """Name of the GPU it computes on; None: it uses the processor."""
    gpu_used_bytes: Mapped[int | None] = mapped_column(BigInteger)
    """On the whole GPU, by whomever."""
    gpu_total_bytes: Mapped[int | None] = mapped_column(BigInteger)
