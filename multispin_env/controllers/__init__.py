"""Controllers, which map batches of states to decisions; ``registry.CONTROLLERS`` lists their names."""

from multispin_env.controllers.base import Assumptions, Modifier

__all__ = ["Assumptions", "Modifier"]
