"""View of agents: what a trained network decides beside the best known rule, for the same state."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from multispin_env.apps.explore.markup import Child, Markup, card, cell_table, element, fragment, numbers, scrolling
from multispin_env.apps.explore.page import PageView
from multispin_env.apps.explore.settings import Choice, Places, Slider, SystemSettings, controlled
from multispin_env.apps.explore.timelines import play
from multispin_env.apps.terminal.output import sentence
from multispin_env.arrays import FloatArray
from multispin_env.checks import check_name
from multispin_env.controllers.names import ContenderName
from multispin_env.controllers.plug_in import PlugIn
from multispin_env.envs.config import EnvConfig
from multispin_env.envs.variant import Variant
from multispin_env.evaluation.contenders import make_contender, native, start
from multispin_env.evaluation.policy import Policy
from multispin_env.physics.continuous.types import ContinuousDecision, Join
from multispin_env.physics.rounds import expected_outcome
from multispin_env.physics.types import Decision, SystemState
from multispin_env.registry import ENVIRONMENTS, import_own
from multispin_env.scenario import Scenario
from multispin_env.units import MHZ, MS

RUN = "run: "  # before the name of a run, so that it is none of the package's agents
IN_TIME = "tokens_in_time"
SECONDS = 10.0  # of an episode that says what decisions earn


def loader() -> Any:
    """Module that loads networks; ``ImportError`` says what is to be installed."""
    return import_own("agents.models")  # it needs torch


def agent_names(places: Places) -> Sequence[str]:
    """Agents of the package, then runs of the folder; nothing where networks can't be loaded."""
    try:
        return (*loader().PRETRAINED, *(f"{RUN}{name}" for name in places.run_names()))
    except ImportError:
        return ()


@dataclass(frozen=True)
class AgentViewSettings(SystemSettings):
    """Settings of the view."""

    agent: str = controlled("MultiSpin/Heterogeneous-v0", Choice("agent", agent_names))
    rounds: int = controlled(0, Slider("steps that the agent has played before", 0, 40))
    seed: int = controlled(0, Slider("seed", 0, 999))

    def look_up(self, places: Places) -> None:
        """Also refuse, in a sentence on what to install, where networks can't be loaded."""
        if missing := missing_packages():
            raise ValueError(missing)
        super().look_up(places)

    def load_agent(self, scenario: Scenario, places: Places) -> tuple[Policy, tuple[str, str]]:
        """The agent, as `agents.models.LoadedPolicy`; refused where the page may not read it, or it does not fit."""
        check_name("agent", self.agent, agent_names(places))
        if self.agent.startswith(RUN):
            loaded = loader().of_run(places.run(self.agent.removeprefix(RUN)), scenario)
        else:
            loaded = loader().of_package(self.agent, scenario)
        return loaded  # type: ignore[no-any-return]


@dataclass(frozen=True, eq=False)
class Side:
    """What one of the two decides for K devices, and what that earns."""

    name: str
    decision: Decision | ContinuousDecision
    device_rate: FloatArray  # (K,) tokens/s of the decision; without the barrier, of an episode
    goodput: float  # tokens/s of all; where requests end, of those in time


@dataclass(frozen=True, eq=False)
class AgentNumbers:
    """What the page shows."""

    env_id: str
    scenario: Scenario
    state: SystemState  # (K,)
    agent: Side
    best: Side

    @property
    def loss(self) -> float:
        """Tokens/s that the agent lacks; negative where it is better."""
        return self.best.goodput - self.agent.goodput

    @property
    def by_round(self) -> bool:
        """Whether decisions are for a round; if not, they hold until a verification ends."""
        return isinstance(self.agent.decision, Decision)

    @property
    def unit(self) -> str:
        """What goodput is counted in."""
        return "tokens/s in time" if _told(ENVIRONMENTS.load(self.env_id)) == IN_TIME else "tokens/s"

    @property
    def note(self) -> str:
        """What to know when both are compared, in one sentence."""
        if not self.by_round:
            return f"A decision earns nothing by itself, so tokens/s are of {SECONDS:g} s that each of the two plays."
        if self.best.name.endswith("+gradient"):
            return "This environment rewards fairness, so that a lower goodput may be better."
        return "The best known rule sees the whole state, also what the agent may not see."


def missing_packages() -> str:
    """How to install what networks need, in a sentence; empty where it is there."""
    try:
        loader()
    except ImportError as error:
        return sentence(error, "train")
    return ""


def compute(settings: AgentViewSettings, places: Places) -> AgentNumbers | str:
    """Let the agent play some steps, then let both decide for what came; a sentence where networks can't be loaded."""
    if missing := missing_packages():
        return missing
    scenario = settings.system(places)
    policy, _ = settings.load_agent(scenario, places)
    env = policy.config.make_vec(1)
    base = native(env)
    reference = _reference(policy.config)
    rule: Any = make_contender(reference, env)
    start(rule)
    observation, _ = env.reset(seed=settings.seed)
    best = _decided(rule, base, observation)
    for played in range(settings.rounds):
        observation, _, terminated, truncated, _ = env.step(policy.act(observation))
        if terminated[0] or truncated[0]:
            raise ValueError(f"rounds: expected at most {played}, since the episode ends then, got {settings.rounds}")
        best = _decided(rule, base, observation)
    state, mine = base.state, base.decode_action(policy.act(observation))
    both = ((settings.agent, policy, mine), (reference, rule, best))
    sides = [_side(policy.config, state, settings.seed, *one) for one in both]
    system = state if isinstance(state, SystemState) else state.system
    return AgentNumbers(policy.config.env_id, scenario, system[0], *sides)


def _decided(rule: Any, base: Any, observation: Any) -> Any:
    """What a rule decides now; one that remembers has to be asked in every step."""
    return rule(base.decode_observation(observation)) if isinstance(rule, PlugIn) else rule(base.state)


def _side(config: EnvConfig, state: Any, seed: int, name: str, rule: Any, decision: Any) -> Side:
    if isinstance(decision, Decision):
        outcome = expected_outcome(config.scenario, state, decision)
        rate = (outcome.tokens / outcome.round_latency[:, None])[0]
        return Side(name, decision[0], rate, float(outcome.goodput[0]))
    stats = play(config.for_any_decision.replace(horizon=SECONDS), rule, name, 1, seed).stats
    in_time = stats.episode.get(IN_TIME, stats.throughput)
    return Side(name, decision[0], stats.user_throughput[0], float(in_time[0]))


def as_python(settings: AgentViewSettings, places: Places) -> str:
    """Python that prints the numbers of the page."""
    if missing := missing_packages():
        return f"# {missing}\n"
    scenario = settings.system(places)
    policy, made = settings.load_agent(scenario, places)
    env_id = policy.config.env_id
    name, by_round = _reference(policy.config), policy.config.variant.comparison.info.goodput is not None
    knows = ContenderName.parse(name).knows_truth
    assumptions = "" if knows else ", env.unwrapped.assumptions"
    decide = "(env.unwrapped.state)" if knows else "(env.unwrapped.decode_observation(observation))"
    told = _told(ENVIRONMENTS.load(env_id))
    episode = _EPISODE.format(env_id=env_id, seed=settings.seed, seconds=SECONDS, told=told)
    return f"""import gymnasium as gym
import multispin_env as ms
{made[0]}

{settings.python_system(places)}
policy = {made[1]}
env = gym.make({env_id!r}, scenario=scenario, **policy.arguments)
rule = ms.make_controller({name!r}, scenario{assumptions})
observation, _ = env.reset(seed={settings.seed})
best = rule{decide}
for _ in range({settings.rounds}):
    observation, *_ = env.step(policy.act(observation))
    best = rule{decide}
agent = env.unwrapped.decode_action(policy.act(observation))
for name, decision in (("agent", agent), ({name!r}, best)):
    print(name, "lengths", *decision.draft_length)
{_ROUND if by_round else episode}"""


_ROUND = """    outcome = ms.expected_outcome(scenario, env.unwrapped.state, decision)
    print(name, "bandwidth in MHz", *(f"{one / 1e6:.3f}" for one in decision.bandwidth))
    print(name, "tokens/s", *(f"{one:.2f}" for one in outcome.tokens / outcome.round_latency))
    print(name, f"goodput {outcome.goodput:.2f} tokens/s")
"""


_EPISODE = """    one, uplink = (policy, "serial") if name == "agent" else (rule, rule.discipline)
    chosen = {{**policy.arguments, "action": "full", "discipline": uplink, "horizon": {seconds}}}
    env = gym.make({env_id!r}, scenario=scenario, **chosen)
    env.reset(seed={seed})
    ended = False
    while not ended:
        decision = one(env.unwrapped.state)
        _, _, _, ended, info = env.step(env.unwrapped.encode_action(decision))
    print(name, f"goodput {{info[{told!r}]:.2f}} tokens/s")
"""


def _told(variant: type[Variant]) -> str:
    """Entry of ``info`` with the goodput of an episode."""
    return IN_TIME if IN_TIME in variant().comparison.info.episode else "token_goodput"


def _reference(config: EnvConfig) -> str:
    """Name of the best that is known; with the truth, by its short name."""
    reference = config.variant.comparison.reference
    parsed = ContenderName.parse(reference)
    return parsed.controller if parsed.knows_truth else reference


def as_command(settings: AgentViewSettings, places: Places) -> str:
    """A command that prints the numbers of the page."""
    runs = ("--runs", str(places.runs)) if settings.agent.startswith(RUN) else ()
    return settings.print_command("agent", places, *runs)


WAITED = {Join.LEAVE: "left for later", Join.TAKE: "taken if there", Join.WAIT: "waited for"}
"""What the next batch does with a device."""


def draw(settings: AgentViewSettings, found: AgentNumbers | str) -> Markup:
    """What the page shows."""
    if isinstance(found, str):
        about = "Agents are networks, which need more packages than this page."
        return card("Agents", element("p", found, id="missing"), about=about)
    earned = card("What it earns", numbers(_headline(found)), element("p", found.note, id="note"))
    return fragment([earned, _devices(found)])


def _headline(found: AgentNumbers) -> dict[str, str]:
    loss = found.loss
    word = "the agent loses" if loss >= 0.0 else "the agent gains"
    return {
        "agent": f"{found.agent.goodput:.2f} {found.unit}",
        found.best.name: f"{found.best.goodput:.2f} {found.unit}",
        word: f"{abs(loss):.2f} {found.unit}",
        **({f"of {found.best.name}": f"{found.agent.goodput / found.best.goodput:.4f}"} if found.best.goodput else {}),
    }


def _devices(found: AgentNumbers) -> Markup:
    state, sides = found.state, (found.agent, found.best)
    titles = ["device", "ms/token", "bit/s/Hz", "acceptance"]
    columns: list[list[Child]] = [
        [f"{value / MS:.2f}" for value in state.draft_time.tolist()],
        [f"{value:.3f}" for value in state.spectral_efficiency.tolist()],
        [f"{value:.3f}" for value in state.acceptance_rate.tolist()],
    ]
    lengths = [[str(one) for one in side.decision.draft_length.tolist()] for side in sides]
    seconds = [_second(side.decision) for side in sides]
    for mine, other in (lengths, seconds):
        columns += [mine, [_marked(theirs, ours) for ours, theirs in zip(mine, other, strict=True)]]
    columns += [[f"{value:.2f}" for value in side.device_rate.tolist()] for side in sides]
    for title in ("length", "MHz" if found.by_round else "next batch", "tokens/s"):
        titles += [f"{title}, {name}" for name in ("agent", found.best.name)]
    rows = [(str(device), *cells) for device, cells in enumerate(zip(*columns, strict=True), start=1)]
    return card(
        "Device by device",
        scrolling(cell_table("agent", titles, rows)),
        about="The state is the same for both. What differs is in bold.",
        wide=True,
    )


def _second(decision: Decision | ContinuousDecision) -> list[str]:
    """What is decided beside lengths."""
    if isinstance(decision, Decision):
        return [f"{one / MHZ:.3f}" for one in decision.bandwidth.tolist()]
    return [WAITED[one] for one in decision.join.tolist()]


def _marked(text: str, other: str) -> Child:
    """A cell, bold where it is not as the other's."""
    return text if text == other else element("td", element("b", text), data_differs=True)


VIEW = PageView(
    title="Agent",
    about="A trained network and the best known rule decide for the same state. See where they differ, and what that "
    "costs.",
    settings=AgentViewSettings,
    compute=compute,
    draw=draw,
    as_python=as_python,
    as_command=as_command,
)
