"""An agent beside the best known rule, as a page."""

from multispin_env.explore.agent import AgentNumbers, AgentViewSettings, as_command, as_python, compute
from multispin_env.explore.markup import Child, Markup, element, fragment
from multispin_env.explore.pages.parts import card, cell_table, numbers, scrolling
from multispin_env.explore.view import PageView
from multispin_env.physics.continuous.types import ContinuousDecision, Join
from multispin_env.physics.types import Decision
from multispin_env.units import MHZ, MS

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
    for title, texts in _decided(found):
        titles += [f"{title}, {name}" for name in ("agent", found.best.name)]
        columns += [texts[0], [_marked(other, mine) for mine, other in zip(*texts, strict=True)]]
    titles += [f"tokens/s, {name}" for name in ("agent", found.best.name)]
    columns += [[f"{value:.2f}" for value in side.device_rate.tolist()] for side in sides]
    rows = [(str(device), *cells) for device, cells in enumerate(zip(*columns, strict=True), start=1)]
    return card(
        "Device by device",
        scrolling(cell_table("agent", titles, rows)),
        about="The state is the same for both. What differs is in bold.",
        wide=True,
    )


def _decided(found: AgentNumbers) -> list[tuple[str, list[list[str]]]]:
    """Columns of what is decided: a title, and the texts of both."""
    both = found.agent.decision, found.best.decision
    lengths = "length", [[str(one) for one in side.draft_length.tolist()] for side in both]
    second = "MHz" if found.by_round else "next batch"
    return [lengths, (second, [_second(side) for side in both])]


def _second(decision: Decision | ContinuousDecision) -> list[str]:
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
    start=AgentViewSettings.start,
    compute=compute,
    draw=draw,
    as_python=as_python,
    as_command=as_command,
)
