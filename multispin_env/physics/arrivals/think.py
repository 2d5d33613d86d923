"""People who read an answer, think, and ask again."""

from dataclasses import dataclass
from typing import ClassVar

from multispin_env.physics.arrivals.poisson import Poisson


@dataclass(frozen=True)
class Think(Poisson):
    """A closed loop: when a request of a device ends, a person thinks for an exponential time and asks again.

    The mean time is 1 / rate of the device. So the rate is what would come if answers took no time, and less comes
    the longer they take: such a system is never overrun.
    """

    closed: ClassVar[bool] = True
