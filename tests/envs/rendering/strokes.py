"""A canvas that writes down its strokes, and small systems whose places can be worked out by hand."""

import numpy as np

import multispin_env as ms
from multispin_env.envs.rendering.views import Round, Scales, View
from multispin_env.physics.types import Decision, Outcome


class Strokes:
    """Stands for a canvas, and writes down what is drawn; letters are 10 pixels wide."""

    def __init__(self, width=800, height=450):
        self.width, self.height = width, height
        self.all = []

    def _add(self, *parts):
        self.all.append(tuple(round(part, 3) if isinstance(part, float) else part for part in parts))

    def fill(self, colour):
        self._add("fill", colour)

    def rectangle(self, *parts):
        self._add("rectangle", *parts)

    def outline(self, *parts):
        self._add("outline", *parts)

    def line(self, points, colour, thickness=1):
        self._add("line", [tuple(round(part, 3) for part in point) for point in points], colour, thickness)

    def disc(self, *parts):
        self._add("disc", *parts)

    def text(self, text, x, y, size, colour, align="left"):
        self._add("text", text, x, y, size, colour, align)
        return 10 * len(text)

    def of(self, kind, *colours):
        """All strokes of a kind, without its name, in these colours or in any."""
        return [stroke[1:] for stroke in self.all if stroke[0] == kind and (not colours or stroke[-1] in colours)]

    @property
    def texts(self):
        """Texts with their places."""
        return [(text, x, y, align) for text, x, y, _, _, align in self.of("text")]


def make_round(lengths, tokens, draft_time, upload_time, bandwidth=None, verification_time=0.1):
    """One round, its goodput and latency by the model."""
    draft, upload, gained = np.array(draft_time), np.array(upload_time), np.array(tokens)
    latency = (draft + upload).max() + verification_time
    shares = np.ones(len(lengths)) if bandwidth is None else np.array(bandwidth)
    outcome = Outcome(gained.sum() / latency, gained, latency, draft, upload, verification_time)
    return Round(Decision(np.array(lengths), shares), outcome, gained)


ROUND = make_round([3, 1], [2.5, 2.0], [0.1, 0.2], [0.2, 0.05], [6e6, 2e6])
"""0.4 s, in which 4.5 tokens are gained: 11.25 tokens/s."""

SCALES = Scales(time=0.424, bandwidth=8e6, goodput=20.0, cells=4, rounds=4)


def make_view(last=ROUND, drawn=False, goodput=(10.0, 11.25), reference=(), scales=SCALES, title=""):
    users = 2 if last is None else len(last.tokens)
    scenario = ms.Scenario.preset("llama2", num_users=users, total_bandwidth=8e6)
    return View(scenario, drawn, last, goodput, reference, "optimum", scales, title)
