"""The barrier with a work-conserving uplink."""

from dataclasses import dataclass, field

from multispin_env.controllers.continuous.groups import Groups


@dataclass(frozen=True, eq=False)
class Synchronous(Groups):
    """Everybody is in every batch; lengths maximise Σ_k E[N_k] / (M(L) + V(L)), M of a shared uplink (ours).

    It is `Groups` with one group. Without ``rho`` each batch has the greatest ratio of its own, which in a static
    channel is the greatest rate. With fading, the rate of the whole run is the right ``rho``.
    """

    groups: int = field(default=1, init=False)
