"""Tables of names. A new part of the project is one new file and one line here.

Values are ``"module:attribute"`` strings, so that a table costs no import; users may also register objects.
"""

from importlib import import_module
from typing import Any

from multispin_env.checks import check_name


class Registry:
    """Names of one kind of part, each with the place it is loaded from.

    Parameters
    ----------
    kind
        What the table holds, for error messages ("controller").
    entries
        Name to ``"module:attribute"``.
    """

    def __init__(self, kind: str, entries: dict[str, str]) -> None:
        self.kind = kind
        self._entries: dict[str, Any] = dict(entries)

    def names(self) -> tuple[str, ...]:
        """All names, in the order they were registered."""
        return tuple(self._entries)

    def register(self, name: str, target: Any) -> None:
        """Add a part of the user's own.

        Parameters
        ----------
        name
            Must be new.
        target
            The object itself, or a ``"module:attribute"`` string that is imported at first use.

        Raises
        ------
        ValueError
            If the name is taken.
        """
        if name in self._entries:
            raise ValueError(
                f"{self.kind}: the name {name!r} is taken; allowed is a name not among {list(self.names())}"
            )
        self._entries[name] = target

    def unregister(self, name: str) -> None:
        """Remove a name; ``ValueError`` if it is unknown."""
        check_name(self.kind, name, self.names())
        del self._entries[name]

    def target(self, name: str) -> Any:
        """Return what was registered, string or object; ``ValueError`` for an unknown name suggests the nearest."""
        check_name(self.kind, name, self.names())
        return self._entries[name]

    def load(self, name: str) -> Any:
        """Return the object behind ``name``; ``ValueError`` for an unknown name suggests the nearest."""
        target = self.target(name)
        if not isinstance(target, str):
            return target
        module, _, attribute = target.partition(":")
        return getattr(import_module(module), attribute)


SCENARIOS = Registry(
    "scenario preset",
    {
        "llama2": "multispin_env.scenarios.llama2:SCENARIO",
        "qwen3.5": "multispin_env.scenarios.qwen35:SCENARIO",
    },
)

CHANNELS = Registry(
    "channel",
    {
        "rayleigh": "multispin_env.physics.channels.rayleigh:RAYLEIGH",
        "gauss-markov": "multispin_env.physics.channels.gauss_markov:GAUSS_MARKOV",
    },
)

ACCEPTANCES = Registry(
    "acceptance",
    {
        "by-task": "multispin_env.physics.acceptance.by_task:BY_TASK",
        "by-request": "multispin_env.physics.acceptance.by_request:BY_REQUEST",
    },
)

CONTROLLERS = Registry(
    "controller",
    {
        "fixed": "multispin_env.controllers.rounds.fixed:Fixed",
        "uniform-bandwidth": "multispin_env.controllers.rounds.uniform_bandwidth:UniformBandwidth",
        "homogeneous": "multispin_env.controllers.rounds.homogeneous:Homogeneous",
        "algorithm1": "multispin_env.controllers.rounds.algorithm1:Algorithm1",
        "optimal": "multispin_env.controllers.rounds.optimal:Optimal",
        "random": "multispin_env.controllers.rounds.random:Random",
    },
)

ESTIMATORS = Registry(
    "estimator",
    {
        "task-mean": "multispin_env.controllers.estimators.task_mean:TaskMean",
        "beta": "multispin_env.controllers.estimators.beta:Beta",
        "filter": "multispin_env.controllers.estimators.filter:Filter",
        "last-report": "multispin_env.controllers.estimators.last_report:LastReport",
        "mmse": "multispin_env.controllers.estimators.mmse:Mmse",
        "quantile": "multispin_env.controllers.estimators.quantile:Quantile",
        "gradient": "multispin_env.controllers.estimators.gradient:Gradient",
        "round-robin": "multispin_env.controllers.estimators.round_robin:RoundRobin",
    },
)

SYSTEMS = Registry(
    "system",
    {
        "p2p": "multispin_env.controllers.rounds.systems:p2p_goodput",
        "centralized": "multispin_env.controllers.rounds.systems:centralized_goodput",
    },
)

ENCODINGS = Registry(
    "action",
    {
        "residual": "multispin_env.envs.rounds.actions:ResidualCodec",
        "shares": "multispin_env.envs.rounds.actions:SharesCodec",
        "lengths": "multispin_env.envs.rounds.actions:LengthsCodec",
    },
)

_VARIANTS = "multispin_env.envs.rounds.variants."

ENVIRONMENTS = Registry(
    "environment",
    {
        "MultiSpin/Homogeneous-v0": _VARIANTS + "homogeneous:Homogeneous",
        "MultiSpin/Heterogeneous-v0": _VARIANTS + "heterogeneous:Heterogeneous",
        "MultiSpin/HiddenAcceptance-v0": _VARIANTS + "hidden_acceptance:HiddenAcceptance",
        "MultiSpin/DelayedChannel-v0": _VARIANTS + "delayed_channel:DelayedChannel",
        "MultiSpin/RecordedAcceptance-v0": _VARIANTS + "recorded_acceptance:RecordedAcceptance",
        "MultiSpin/Fair-v0": _VARIANTS + "fair:Fair",
    },
)

_FIGURES = "multispin_env.reproduce.figures."

FIGURES = Registry(
    "figure",
    {
        "draft-length": _FIGURES + "draft_length:FIGURE",
        "bandwidth": _FIGURES + "bandwidth:FIGURE",
        "users": _FIGURES + "users:FIGURE",
        "devices": _FIGURES + "devices:FIGURE",
        "remark-2": _FIGURES + "remark_2:FIGURE",
        "verification": _FIGURES + "verification:FIGURE",
        "calibration": _FIGURES + "calibration:FIGURE",
        "recorded": _FIGURES + "recorded:FIGURE",
        "certificate": _FIGURES + "certificate:FIGURE",
        "claims": _FIGURES + "claims:FIGURE",
    },
)
"""What ``python -m multispin_env.reproduce`` computes and draws."""
