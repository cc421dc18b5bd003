"""How patient a tunnel is kept open."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pace:
    """How patient to be, in seconds. check_s: until an address has to answer (names take a while to spread);
    steps: pauses between the tries, the last one again and again; every_s: between looks at an open tunnel;
    strikes: failed looks on end that mean it is broken; first: pauses between rounds of opening; again: of reopening.
    """

    check_s: float = 120.0
    steps: tuple[float, ...] = (1, 2, 4, 8)
    every_s: float = 60.0
    strikes: int = 3
    first: tuple[float, ...] = (3, 10)
    again: tuple[float, ...] = (2, 5, 10, 30, 60, 120, 300, 300, 300)


PATIENT = Pace()
