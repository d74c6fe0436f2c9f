"""When labels are due, when the reward model is retrained, how the learning rate falls. No tensors, no torch.

Labels are counted in whole numbers and all arithmetic is on integers, so that `labels_required` and
`episodes_allowed` are exact inverses at any size.
"""

from math import cos, isqrt, pi

SEED_STRIDE = 1_000_003
"""Between the seeds of two runs, so that their updates and passes draw different numbers; a prime."""


def labels_required(episode: int, *, initial: int, total: int, total_episodes: int) -> int:
    """Labels that must be in before `episode` may start: l(n), rounded up.

    Args:
        episode: n >= 0, episodes done so far; beyond `total_episodes` all labels are required.
        initial: labels before the first episode.
        total: labels before the last.
        total_episodes: N of the whole run.
    Returns: ceil(initial + (total - initial) * (1 - (1 - n / N)^2)); front-loaded.
    Raises: ValueError unless 0 <= initial <= total, total_episodes >= 1 and episode >= 0.
    Source: Ziegler et al. 2019, section 2.3.
    """
    _check(initial, total, total_episodes)
    if episode < 0:
        raise ValueError(f"episode {episode} is negative")
    n = min(episode, total_episodes)
    # 1 - (1 - n/N)^2 = n (2N - n) / N^2; minus floor of the negative rounds up.
    return initial - (total - initial) * n * (2 * total_episodes - n) // -(total_episodes**2)


def episodes_allowed(labels: int, *, initial: int, total: int, total_episodes: int) -> int:
    """The largest n with labels_required(n) <= labels: PPO may start an update at any episode up to this one.

    Returns: n in [0, total_episodes]; -1 while fewer than `initial` labels are in, when none may start.
    Raises: ValueError as `labels_required`.
    """
    _check(initial, total, total_episodes)
    if labels < initial:
        return -1
    if labels >= total:
        return total_episodes
    # (N - n)^2 >= N^2 - floor((labels - initial) N^2 / (total - initial)), solved for the largest n.
    square = total_episodes**2
    rest = square - (labels - initial) * square // (total - initial)
    return total_episodes - (isqrt(rest - 1) + 1)


def reward_training_points(initial: int, total: int, trainings: int) -> tuple[int, ...]:
    """Label counts at which the reward model is trained, `trainings` in all.

    Returns: strictly increasing; the first is `initial`, the last (if more than one) `total`, evenly spaced in
        labels and rounded up.
    Raises: ValueError if the labels do not suffice for that many trainings on different label sets.
    Source: Ziegler et al. 2019, section 2.3 (20 trainings at evenly spaced l(n)).
    """
    _check(initial, total, total_episodes=1)
    gaps = trainings - 1
    if gaps < 0 or total - initial < gaps:
        raise ValueError(f"{trainings} reward trainings do not fit between {initial} and {total} labels")
    return tuple(initial - (total - initial) * i // -max(gaps, 1) for i in range(trainings))


def linear_decay(lr: float, update: int, updates: int) -> float:
    """Learning rate of 0-based `update` out of `updates`: `lr` at the first, falling in a line to 0 after the last.

    Raises: ValueError unless 0 <= update <= updates and updates >= 1.
    """
    if not (updates >= 1 and 0 <= update <= updates):
        raise ValueError(f"update {update} must lie in [0, {updates}]")
    return lr * (1 - update / updates)


def cosine_decay(lr: float, step: int, steps: int) -> float:
    """Learning rate of 0-based `step` out of `steps`: `lr` at the first, falling along a cosine to 0 after the last.

    Raises: ValueError unless 0 <= step <= steps and steps >= 1.
    """
    if not (steps >= 1 and 0 <= step <= steps):
        raise ValueError(f"step {step} must lie in [0, {steps}]")
    return lr * (1 + cos(pi * step / steps)) / 2


def _check(initial: int, total: int, total_episodes: int) -> None:
    if not 0 <= initial <= total:
        raise ValueError(f"initial labels {initial} must lie in [0, {total}], the labels in all")
    if total_episodes < 1:
        raise ValueError(f"total_episodes {total_episodes} must be at least 1")
