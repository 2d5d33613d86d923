"""Registries: tables of named parts. A new part of the project needs one new file and one line here.

Values are ``"module:attribute"`` strings, so that a table imports nothing, or ``"module:class:file"`` for an object
that a class loads from a file in ``multispin_env/data``; users may also register objects. Each table has a base class
or protocol for its parts, which is checked when an object is registered and when a string is loaded.
"""

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from functools import cache, partial
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

from multispin_env.checks import check_keywords, check_name, listed, reason, shown

FORM = "module:ATTRIBUTE"  # Form of the name of a part outside this package


class Registry:
    """Table of the parts of one ``kind``, such as "controller", by name.

    ``base`` is the ``"module:attribute"`` of a class or protocol. Parts are instances of it, or, with ``classes``,
    subclasses or functions that make instances. A part with all attributes of a protocol need not derive from it.
    """

    def __init__(self, kind: str, base: str, entries: dict[str, str], *, classes: bool = False) -> None:
        self.kind = kind
        self._base, self._classes = base, classes
        self._entries: dict[str, Any] = dict(entries)
        self._own = frozenset(entries.values())  # this package's tests verify them

    def names(self) -> tuple[str, ...]:
        """Return all names, in the order of registration."""
        return tuple(self._entries)

    def register(self, name: str, target: Any) -> None:
        """Add a part; ``ValueError`` if the name is taken or the part is of another kind.

        ``target`` is the object itself, or a ``"module:attribute"`` string that is imported and checked at first use.
        """
        if name in self._entries:
            raise ValueError(f"{self.kind}: expected a new name, other than {listed(self.names())}, got {name!r}")
        if not isinstance(target, str):
            self._check(target)
        self._entries[name] = target

    def admit(self, name: str) -> None:
        """Import a name ``module:ATTRIBUTE`` and register it; other names are ignored.

        ``ValueError`` if it can't be imported or is of another kind.
        """
        if is_outside(name) and name not in self._entries:
            self.register(name, import_attribute(self.kind, name))

    def check(self, name: object) -> None:
        """Raise ``ValueError`` for an unknown name; the message has the closest or how to add a part."""
        if not isinstance(name, str):
            remedy = f"register a part with registry.{self.kind.upper()}S.register(NAME, ...)"
            raise ValueError(f"{self.kind}: expected a registered name, got {shown(name)}; {remedy}")
        if is_outside(name) and name not in self._entries:
            remedy = f"--set {self.kind}={name} in a command, registry.{self.kind.upper()}S.admit({name!r}) in Python"
            raise ValueError(f"{self.kind}: expected a registered name, got {shown(name)}; to import it, use {remedy}")
        check_name(self.kind, name, self.names())

    def unregister(self, name: str) -> None:
        """Remove a name; ``ValueError`` if it is unknown."""
        check_name(self.kind, name, self.names())
        del self._entries[name]

    def target(self, name: str) -> Any:
        """Return the registered string or object; ``ValueError`` for an unknown name suggests the closest."""
        check_name(self.kind, name, self.names())
        return self._entries[name]

    def load(self, name: str) -> Any:
        """Return the part of this name, imported if needed; ``ValueError`` for an unknown name suggests the closest."""
        target = self.target(name)
        return self._loaded(target) if isinstance(target, str) else target

    @cache  # noqa: B019  # a table lives as long as the process
    def _loaded(self, target: str) -> Any:
        part = _load(target)
        self._check(part, verify=target not in self._own)
        return part

    def _check(self, entry: Any, verify: bool = True) -> None:
        base, part = _load(self._base), class_of_part(entry) if self._classes else entry
        protocol = getattr(base, "_is_protocol", False)
        if isinstance(part, type) != self._classes:
            missing, fits = [], False
        elif protocol:
            names = {*dir(part), *getattr(part, "__dataclass_fields__", ())}  # dir() lacks fields without a default
            missing = [name for name in vars(base) if not name.startswith("_") and name not in names]
            fits = not missing
        else:
            missing = sorted(getattr(entry, "__abstractmethods__", ()))  # a function may be annotated with the base
            fits = not missing and (issubclass(part, base) if self._classes else isinstance(part, base))
        if not fits:
            part_type = "a class" if self._classes else "an object"
            relation = "that implements" if protocol else "derived from" if self._classes else "of the class"
            attributes = f", with {', '.join(missing)}" if missing else ""
            expected = f"{part_type} {relation} {base.__name__}{attributes}"
            raise ValueError(f"{self.kind}: expected {expected}, got {shown(entry)}")
        if verify:
            getattr(entry, "verify", lambda: None)()  # that of `Link`


def _load(target: str) -> Any:
    module, attribute, *file = target.split(":")
    part = getattr(import_module(module), attribute)
    return part.load(Path(__file__).with_name("data") / file[0]) if file else part


def class_of_part(part: Any) -> Any:
    """Return the class of the objects that a class, a ``partial`` of a class or an annotated function makes."""
    if isinstance(part, partial):
        return part.func
    return part if isinstance(part, type) else getattr(part, "__annotations__", {}).get("return")


def option_names(make: Callable[..., Any], *reserved: str) -> tuple[str, ...]:
    """Return the options of a class or function that users can set: all parameters except the ``reserved`` ones."""
    if isinstance(make, partial):
        return option_names(make.func, *reserved, *make.keywords)
    if isinstance(make, type):
        names = [field.name for field in fields(make) if field.init]
    else:
        names = list(signature(make).parameters)
    return tuple(name for name in names if name not in reserved)


def make_part(table: Registry, name: str, options: Mapping[str, Any], **fixed: Any) -> Any:
    """Make a part from a table of dataclasses, with the ``options`` of the user and ``fixed`` fields.

    ``ValueError`` or ``TypeError`` for a bad value, or an unknown name or option, with the closest as a suggestion.
    """
    cls = table.load(name)
    check_keywords(f"{table.kind} {name!r}", options, option_names(cls, *fixed))
    return cls(**fixed, **options)


def is_outside(name: object) -> bool:
    """Whether a name has the form ``module:ATTRIBUTE`` of parts outside this package."""
    return isinstance(name, str) and ":" in name


def import_attribute(kind: str, name: str, get: Callable[[Any, str], Any] = getattr) -> Any:
    """Import ``module:ATTRIBUTE``, also from the current folder; ``ValueError`` if it can't be imported.

    ``get`` takes the attribute. Call it only with names from the user, never with names from a file or a web page.
    """
    if os.getcwd() not in sys.path:  # in an installed script
        sys.path.append(os.getcwd())
    module, _, attribute = name.partition(":")
    try:
        return get(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError, SyntaxError) as error:  # ValueError for an empty name
        raise refusal(kind, name, f" ({error})") from error
    except (Exception, SystemExit) as error:  # raised by the module
        raise refusal(kind, name, f" ({reason(error)})") from error


def import_environment(name: str) -> str:
    """Return an id; for ``module:ID``, as in ``gym.make``, first import the module, which registers it.

    ``ValueError`` if it can't be imported or the id is unknown. Call it only with names from the user.
    """
    env_id: str = import_attribute("env", name, lambda _, attribute: attribute) if is_outside(name) else name
    check_name("env", env_id, ("module:ID, where the module calls ms.register_environment", *ENVIRONMENTS.names()))
    return env_id


def import_project_module(module: str) -> Any:
    """Import a module of ``multispin_env``, ``multispin_agents`` or ``multispin_lab``.

    ``ImportError`` with the remedy if the module is missing, and Python's own error if a dependency is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] not in ("multispin_env", "multispin_agents", "multispin_lab"):
            raise
        raise ImportError(f"the module {error.name!r} is missing; install multispin_env again") from error


def refusal(kind: str, name: str, why: str) -> ValueError:
    """Return the error for a ``module:ATTRIBUTE`` that can't be imported; ``why`` follows the name."""
    return ValueError(f"{kind}: expected {FORM} that can be imported, got {shown(name)}{why}")


_PRESETS = ("llama2", "qwen3.5", "qwen2.5", "r1")
SCENARIOS: Registry = Registry(
    "scenario preset",
    "multispin_env.scenario:Scenario",
    {name: f"multispin_env.scenario:Scenario:presets/{name}.toml" for name in _PRESETS},
)

_SERVERS = (
    *("a100-7b-gemm", "a100-32b", "a100-70b", "cpu-1.5b"),
    *("a100-8b", "h100-8b", "h100-27b", "h100-32b", "h100-70b", "b200-27b", "b200-32b", "b200-70b"),
    *("l40s-8b", "l40s-32b", "rtx-pro-6000-8b", "rtx-pro-6000-32b"),
)
SERVERS: Registry = Registry(
    "server",
    "multispin_env.server:Server",
    {name: f"multispin_env.server:Server:servers/{name}.toml" for name in _SERVERS},
)

_DRAFTS = (
    *(f"qwen2.5-{size}-{bits}" for size in ("0.5b", "1.5b") for bits in ("fp16", "q8", "q4", "q2")),
    *("qwen2.5-3b-fp16", "qwen2.5-3b-q8", "qwen2.5-3b-q4", "vicuna-68m", "prompt-lookup"),
    *("eagle-3", "eagle-2", "hydra", "medusa"),
)
DRAFTS: Registry = Registry(
    "draft",
    "multispin_env.draft:DraftProfile",
    {name: f"multispin_env.draft:DraftProfile:drafts/{name}.toml" for name in _DRAFTS},
)

_DEVICES = (
    *("iphone-17-pro-gpu", "iphone-17-pro-ane", "iphone-16-pro-gpu", "iphone-16-pro-q8", "iphone-15-pro-q8"),
    *("iphone-13-pro-q8", "galaxy-s25-ultra-cpu", "galaxy-s25-ultra-npu", "galaxy-s24-ultra-gpu"),
    *("galaxy-s24-ultra-q8", "galaxy-s23-q8", "galaxy-a33-q8", "oneplus-12-cpu", "pixel-8-q8", "pixel-6a-q8"),
    *("snapdragon-8-elite-gen-5-npu", "snapdragon-8-elite-npu", "snapdragon-8-elite-npu-ggml"),
    *("snapdragon-x2-elite-npu", "macbook-air-m3-cpu", "mac-m4-max-gpu", "mac-m4-max-ane", "rtx-4050-laptop"),
    *("jetson-orin-nano-super", "raspberry-pi-5-cpu", "raspberry-pi-5-hailo-10h"),
    *("rk3588-npu", "rk3576-npu", "rk3562-npu", "rv1126b-npu"),
)
DEVICES: Registry = Registry(
    "device",
    "multispin_env.device:DeviceProfile",
    {name: f"multispin_env.device:DeviceProfile:devices/{name}.toml" for name in _DEVICES},
)
FLEETS: Registry = Registry(
    "fleet",
    "multispin_env.device:Fleet",
    {name: f"multispin_env.device:Fleet:fleets/{name}.toml" for name in ("phones", "household", "boards")},
)

CHANNELS: Registry = Registry(
    "channel",
    "multispin_env.physics.radio:Channel",
    {
        "static": "multispin_env.physics.radio:STATIC",
        "independent": "multispin_env.physics.radio:INDEPENDENT",
        "gauss-markov": "multispin_env.physics.radio:GAUSS_MARKOV",
    },
)

LINKS: Registry = Registry(
    "link",
    "multispin_env.physics.links:Link",
    {
        "density": "multispin_env.physics.links:DENSITY",
        "power": "multispin_env.physics.links:POWER",
    },
)

ACCEPTANCES: Registry = Registry(
    "acceptance",
    "multispin_env.physics.acceptance:Acceptance",
    {
        "by-task": "multispin_env.physics.acceptance:BY_TASK",
        "by-request": "multispin_env.physics.acceptance:BY_REQUEST",
    },
)

ARRIVALS: Registry = Registry(
    "arrivals",
    "multispin_env.physics.arrivals:Arrivals",
    {
        "poisson": "multispin_env.physics.arrivals:Poisson",
        "gamma": "multispin_env.physics.arrivals:Gamma",
        "think": "multispin_env.physics.arrivals:Think",
        "ramp": "multispin_env.physics.arrivals:Ramp",
        "trace": "multispin_env.physics.arrivals:TraceArrivals",
    },
    classes=True,
)

LENGTHS: Registry = Registry(
    "lengths",
    "multispin_env.physics.lengths:Lengths",
    {
        "geometric": "multispin_env.physics.lengths:Geometric",
        "log-normal": "multispin_env.physics.lengths:LogNormal",
        "trace": "multispin_env.physics.lengths:TraceLengths",
    },
    classes=True,
)

CONTROLLERS: Registry = Registry(
    "controller",
    "multispin_env.controllers.base:Controller",
    {
        "fixed": "multispin_env.controllers.rounds.optimal:Fixed",
        "uniform-bandwidth": "multispin_env.controllers.rounds.uniform_bandwidth:UniformBandwidth",
        "homogeneous": "multispin_env.controllers.rounds.homogeneous:CommonLength",
        "algorithm1": "multispin_env.controllers.rounds.homogeneous:Algorithm1",
        "optimal": "multispin_env.controllers.rounds.optimal:Optimal",
        "ahead-price": "multispin_env.controllers.rounds.ahead:AheadPrice",
        "energy-prices": "multispin_env.controllers.rounds.energy:EnergyPrices",
        "drift": "multispin_env.controllers.rounds.energy:DRIFT",
        "shaped": "multispin_env.controllers.rounds.energy:SHAPED",
        "paced": "multispin_env.controllers.rounds.energy:PACED",
        "random": "multispin_env.controllers.rounds.optimal:Random",
        "synchronous": "multispin_env.controllers.continuous.groups:SYNCHRONOUS",
        "greedy": "multispin_env.controllers.continuous.greedy:Greedy",
        "groups": "multispin_env.controllers.continuous.groups:Groups",
        "prices": "multispin_env.controllers.continuous.prices:Prices",
        "timetable": "multispin_env.controllers.continuous.timetable:Timetable",
        "minedraft": "multispin_env.baselines.related_work:MINE_DRAFT",
        "earliest-deadline": "multispin_env.baselines.related_work:EarliestDeadline",
        "turbospec": "multispin_env.baselines.related_work:TurboSpec",
        "tetris": "multispin_env.baselines.related_work:Tetris",
        "ema-tiers": "multispin_env.baselines.related_work:EmaTiers",
        "plus-two-minus-one": "multispin_env.baselines.related_work:PlusTwoMinusOne",
        "own-pace": "multispin_env.controllers.continuous.greedy:OwnPace",
        "load-aware": "multispin_env.controllers.continuous.greedy:load_aware",
    },
    classes=True,
)

MODIFIERS: Registry = Registry(
    "modifier",
    "multispin_env.controllers.base:Modifier",
    {
        "deadlines": "multispin_env.controllers.continuous.greedy:Deadlines",
    },
    classes=True,
)

ESTIMATORS: Registry = Registry(
    "estimator",
    "multispin_env.controllers.estimators:Estimator",
    {
        "task-mean": "multispin_env.controllers.estimators:TaskMean",
        "beta": "multispin_env.controllers.estimators:Beta",
        "filter": "multispin_env.controllers.estimators:Filter",
        "last-report": "multispin_env.controllers.estimators:LastReport",
        "mmse": "multispin_env.controllers.estimators:Mmse",
        "quantile": "multispin_env.controllers.estimators:Quantile",
        "expected": "multispin_env.controllers.estimators:Expected",
        "gradient": "multispin_env.controllers.estimators:Gradient",
        "round-robin": "multispin_env.controllers.estimators:RoundRobin",
    },
    classes=True,
)

ENCODINGS: Registry = Registry(
    "action",
    "multispin_env.envs.rounds.encodings:RoundsCodec",
    {
        "residual": "multispin_env.envs.rounds.encodings:ResidualCodec",
        "shares": "multispin_env.envs.rounds.encodings:SharesCodec",
        "lengths": "multispin_env.envs.rounds.encodings:LengthsCodec",
    },
    classes=True,
)

CONTINUOUS_ENCODINGS: Registry = Registry(
    "action without the barrier",
    "multispin_env.envs.continuous.encodings:ContinuousCodec",
    {
        "residual": "multispin_env.envs.continuous.encodings:ContinuousResidualCodec",
        "plain": "multispin_env.envs.continuous.encodings:PlainCodec",
        "full": "multispin_env.envs.continuous.encodings:FullCodec",
        "tuned": "multispin_env.envs.continuous.encodings:TunedCodec",
    },
    classes=True,
)

ENVIRONMENTS: Registry = Registry(
    "environment",
    "multispin_env.envs.config:EnvConfig",
    {
        "MultiSpin/Homogeneous-v0": "multispin_env.envs.rounds.known:Homogeneous",
        "MultiSpin/Heterogeneous-v0": "multispin_env.envs.rounds.known:Heterogeneous",
        "MultiSpin/HiddenAcceptance-v0": "multispin_env.envs.rounds.hidden:HiddenAcceptance",
        "MultiSpin/DelayedChannel-v0": "multispin_env.envs.rounds.hidden:DelayedChannel",
        "MultiSpin/RecordedAcceptance-v0": "multispin_env.envs.rounds.hidden:RecordedAcceptance",
        "MultiSpin/Fair-v0": "multispin_env.envs.rounds.known:Fair",
        "MultiSpin/DraftAhead-v0": "multispin_env.envs.rounds.ahead:DraftAhead",
        "MultiSpin/Energy-v0": "multispin_env.envs.rounds.energy:Energy",
        "MultiSpin/Continuous-v0": "multispin_env.envs.continuous.endless:Continuous",
        "MultiSpin/Serving-v0": "multispin_env.envs.continuous.serving:Serving",
    },
    classes=True,
)


def admitted_names() -> list[tuple[str, str]]:
    """Return pairs (variable of a table, admitted name), for `admit_all` in another process."""
    tables = ((variable, table) for variable, table in globals().items() if isinstance(table, Registry))
    return [(variable, name) for variable, table in tables for name in table.names() if is_outside(name)]


def admit_all(parts: Iterable[tuple[str, str]]) -> None:
    """Admit the names that `admitted_names` returned in another process."""
    for variable, name in parts:
        globals()[variable].admit(name)
