"""Long simulations of controllers, without Gymnasium."""

from multispin_env.physics.continuous.averages import LongRun
from multispin_env.physics.continuous.service_log import ServiceRun

__all__ = ["LongRun", "ServiceRun"]
