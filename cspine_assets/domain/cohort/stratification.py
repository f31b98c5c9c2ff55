"""Sharing patients among groups so that the groups are alike: iterative stratification in a seeded order.

Add a rule when shares must respect more than counts. Which patients are shared, and what the groups are for,
is the matter of ``splits``.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Unit:
    """Something shared as a whole: a patient with all exams.

    Attributes:
        key: Its name; with the seed it sets the order, so that the order of rows does not count.
        labels: Stratum values such as ``sex=Female``; all count alike.
        weight: Room that it takes in a group.
    """

    key: str
    labels: tuple[str, ...]
    weight: int = 1


def seeded_order(key: str, seed: int) -> bytes:
    """Returns a value to sort by: random over seeds, and of a key and seed alone."""
    return hashlib.sha256(f"{seed}:{key}".encode()).digest()


def share_out(units: Sequence[Unit], rooms: Sequence[int], *, seed: int) -> dict[str, int]:
    """Assigns each unit to a group, rarest label first, where that label is most wanted.

    First after Sechidis, Tsoumakas and Vlahavas, "On the stratification of multi-label data", ECML PKDD 2011,
    with two changes: a group's room is never exceeded, and ties are decided by the seeded order instead of by
    chance.

    Args:
        units: Units to share; distinct keys.
        rooms: Weight that each group takes; in sum at least that of the units.
        seed: Sets the order among equals.

    Returns:
        Group of each unit by its key. A unit heavier than any room that is left goes where most is left.
    """
    waiting = {unit.key: unit for unit in sorted(units, key=lambda unit: seeded_order(unit.key, seed))}
    total = sum(unit.weight for unit in units)
    left = [float(room) for room in rooms]
    sums = Counter[str]()
    for unit in units:
        sums.update(dict.fromkeys(unit.labels, unit.weight))
    wanted = {label: [count * room / max(total, 1) for room in rooms] for label, count in sums.items()}
    groups: dict[str, int] = {}
    while waiting:
        label = _rarest(waiting.values())
        for unit in [unit for unit in waiting.values() if label is None or label in unit.labels]:
            group = _best_group(unit, label, wanted, left)
            groups[unit.key] = group
            left[group] -= unit.weight
            for own in unit.labels:
                wanted[own][group] -= unit.weight
            del waiting[unit.key]
    return _swapped(sorted(units, key=lambda unit: seeded_order(unit.key, seed)), groups, len(rooms))


def _swapped(units: Sequence[Unit], groups: Mapping[str, int], count: int) -> dict[str, int]:
    """Swaps units of equal weight between groups while that makes the groups more alike.

    Groups are compared by the sum over groups and labels of (n - expected)^2 / variance, n being how many
    units of the group have the label; the best swap is taken each time, and none that gains next to nothing.
    """
    labels = sorted({label for unit in units for label in unit.labels})
    if not labels:
        return dict(groups)
    has = np.array([[label in unit.labels for label in labels] for unit in units], dtype=np.float64)
    weight = np.array([unit.weight for unit in units])
    group = np.array([groups[unit.key] for unit in units])
    pairs = [(g, h) for g in range(count) for h in range(g + 1, count)]
    # every swap lowers a sum that is never below 0; the bound only guards against rounding
    for _ in range(len(units)):
        swaps = [_best_swap(has, weight, group, g, h) for g, h in pairs]
        best = min((swap for swap in swaps if swap is not None), key=lambda swap: swap.change, default=None)
        if best is None or best.change > -1e-6:
            break
        group[[best.first, best.second]] = group[[best.second, best.first]]
    return {unit.key: int(g) for unit, g in zip(units, group, strict=True)}


@dataclass(frozen=True)
class _Swap:
    """Two units by position, and by how much their swap changes the sum that is made small."""

    first: int
    second: int
    change: float


def _best_swap(
    has: NDArray[np.float64], weight: NDArray[np.int64], group: NDArray[np.int64], g: int, h: int
) -> _Swap | None:
    """Returns the swap between two groups that helps most, or None where there is none to make."""
    ours, theirs = np.flatnonzero(group == g), np.flatnonzero(group == h)
    if not len(ours) or not len(theirs):
        return None
    share = has.mean(axis=0)
    # a label that everybody has cannot be uneven
    spread = np.where(share < 1, share * (1 - share), np.inf)
    slopes = [(has[side].mean(axis=0) - share) / spread for side in (ours, theirs)]
    slope = slopes[0] - slopes[1]
    curve = (1 / len(ours) + 1 / len(theirs)) / spread
    linear = 2 * ((has[theirs] @ slope)[None, :] - (has[ours] @ slope)[:, None])
    squared = (has[ours] @ curve)[:, None] + (has[theirs] @ curve)[None, :] - 2 * (has[ours] * curve) @ has[theirs].T
    change = np.where(weight[ours][:, None] == weight[theirs][None, :], linear + squared, np.inf)
    # rounded, so that the last bits of another machine's arithmetic choose no other swap
    first, second = np.unravel_index(int(np.argmin(np.round(change, 9))), change.shape)
    return _Swap(int(ours[first]), int(theirs[second]), float(np.round(change[first, second], 9)))


def _rarest(units: Iterable[Unit]) -> str | None:
    """Returns the label that fewest waiting units have, or None where none has any."""
    members: defaultdict[str, int] = defaultdict(int)
    for unit in units:
        for label in unit.labels:
            members[label] += 1
    return min(members, key=lambda label: (members[label], label), default=None)


def _best_group(unit: Unit, label: str | None, wanted: Mapping[str, Sequence[float]], left: Sequence[float]) -> int:
    """Returns the group that wants the label most; then all of the unit's labels; then has most room."""
    fitting = [group for group, room in enumerate(left) if room >= unit.weight]
    candidates = fitting or [max(range(len(left)), key=lambda group: left[group])]

    def desire(group: int) -> tuple[float, float, float, int]:
        first = wanted[label][group] if label is not None else 0.0
        together = sum(wanted[own][group] for own in unit.labels)
        return round(first, 9), round(together, 9), left[group], -group

    return max(candidates, key=desire)
