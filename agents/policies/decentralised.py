"""Policy for all devices that sees only the device it decides for, and what all share; the critic sees all."""

import torch as th

from agents.policies.equivariant import Codes, EquivariantActorCritic, UserEncoder


class OwnEncoder(UserEncoder):
    """As `UserEncoder`, but the context of a user is its own code: nothing of the others is known."""

    def __init__(self, width: int, features: int) -> None:
        super().__init__(width, features, largest=False)

    def forward(self, features: th.Tensor) -> Codes:
        """Codes of all users, each with a context of its own."""
        own = self.own(features.unflatten(-1, (-1, self.features)))
        return Codes(own, self.context(own))


class DecentralisedActorCritic(EquivariantActorCritic):
    """Actor-critic policy whose actor could run on the devices; parameters are those of its base."""

    def _build_mlp_extractor(self) -> None:
        super()._build_mlp_extractor()
        self.mlp_extractor.policy_net = OwnEncoder(self.width, self.mlp_extractor.policy_net.features)  # type: ignore[assignment, arg-type]
