"""Small plots as SVG, for pages and reports that must stand alone: places of points, worked out here."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.quality import Mean
from app.reports import Compared

WIDTH, HEIGHT = 420.0, 190.0
MARGIN = 34.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Dot:
    """A value with its interval, in the plot's units."""

    x: float
    y: float
    top: float
    bottom: float
    told: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """Dots joined in their order, and what the axes say."""

    title: str
    dots: tuple[Dot, ...]
    ticks_x: tuple[tuple[float, str], ...]
    ticks_y: tuple[tuple[float, str], ...]
    level: float | None
    """Where a line across stands, such as the win rate of equals."""
    width: float = WIDTH
    height: float = HEIGHT
    margin: float = MARGIN

    @property
    def line(self) -> str:
        """As points of a polyline."""
        return " ".join(f"{dot.x:.1f},{dot.y:.1f}" for dot in self.dots)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedPlots:
    """The over-optimisation curve: two plots above each other, and their points."""

    points: tuple[Compared, ...]
    plots: tuple[Plot, ...]


def compared(points: Sequence[Compared]) -> ComparedPlots | None:
    """Blind win rate and score against KL; None where nothing was compared."""
    rated = [(one, one.win_rate) for one in points if one.win_rate]
    scored = [(one, one.score) for one in points if one.score]
    if not rated and not scored:
        return None
    widest = max(one.kl for one in points) or 1.0
    plots = (
        *((_plot("Blind win rate against the reference", rated, widest, (0.0, 1.0), 0.5, _percent),) if rated else ()),
        *((_plot("Score of the newest reward model", scored, widest, _range(scored), None, _plain),) if scored else ()),
    )
    return ComparedPlots(points=tuple(points), plots=plots)


def _plot(
    title: str,
    points: Sequence[tuple[Compared, Mean]],
    widest: float,
    span: tuple[float, float],
    level: float | None,
    told: Callable[[float], str],
) -> Plot:
    low, high = span

    def across(kl: float) -> float:
        return MARGIN + kl / widest * (WIDTH - 1.5 * MARGIN)

    def up(value: float) -> float:
        bounded = min(max(value, low), high)
        return HEIGHT - MARGIN - (bounded - low) / (high - low) * (HEIGHT - 1.5 * MARGIN)

    return Plot(
        title=title,
        dots=tuple(
            Dot(
                x=across(one.kl),
                y=up(mean.mean),
                top=up(mean.high),
                bottom=up(mean.low),
                told=f"{one.name}: {told(mean.mean)} at {one.kl:.1f} nats",
            )
            for one, mean in points
        ),
        ticks_x=tuple((across(part * widest / 4), f"{part * widest / 4:.1f}") for part in range(5)),
        ticks_y=tuple((up(low + part * (high - low) / 4), told(low + part * (high - low) / 4)) for part in range(5)),
        level=None if level is None else up(level),
    )


def _range(points: Sequence[tuple[Compared, Mean]]) -> tuple[float, float]:
    low, high = min(mean.low for _, mean in points), max(mean.high for _, mean in points)
    room = (high - low) * 0.05 or 1.0
    return low - room, high + room


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def _plain(value: float) -> str:
    return f"{value:.2f}"
