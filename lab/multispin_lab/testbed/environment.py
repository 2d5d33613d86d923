"""Environment whose rounds are played by real devices and a real target model."""

from typing import Any, NoReturn

import numpy as np
from typing_extensions import override

from multispin_env.arrays import Array, BoolArray, FloatArray, IntArray, Rows
from multispin_env.checks import check_instance, check_name
from multispin_env.envs.base import MultiSpinEnv
from multispin_env.envs.observations import Observation
from multispin_env.envs.rounds.hidden import HiddenAcceptance
from multispin_env.envs.rounds.simulator import RoundsSimulator
from multispin_env.envs.simulator import Step
from multispin_env.physics.acceptance import Requests
from multispin_env.physics.types import Decision, Outcome, RealDecision
from multispin_env.scenario import Scenario
from multispin_lab.testbed.server import Testbed


class _PlayedSimulator(RoundsSimulator):
    """Simulator whose rounds a testbed plays; the channel is that of the scenario, which paces the uploads."""

    def __init__(self, config: Any, testbed: Testbed) -> None:
        self._testbed, self._verifier = testbed, testbed.verifiers[0]
        super().__init__(config, config.objective(1), config.dynamics, config.planned, 1)

    @override
    def seed(self, env: int, generator: np.random.Generator) -> None:
        super().seed(env, generator)
        self._verifier.number[:] = generator.integers(2**16)  # `reset` begins the next ones

    @override
    def reset(self, envs: IntArray | None = None) -> Observation:
        self._testbed.begin_requests(0, range(self.scenario.num_users))
        self._testbed.connections.wait(1)
        return super().reset(envs)

    @override
    def step(self, action: Array, over: BoolArray | None = None) -> Step[Decision, Outcome]:
        with np.errstate(divide="ignore", invalid="ignore"):  # joules per token, where all devices have left
            return super().step(action, over)

    @override
    def _play(self, decision: Decision, over: BoolArray | None) -> tuple[Outcome, FloatArray, FloatArray]:
        length, bandwidth, efficiency = decision.draft_length, decision.bandwidth, self.state.spectral_efficiency
        self._testbed.connections.wait(1)
        played, self._measured = self._testbed.play(0, length[0], bandwidth[0], efficiency[0])
        self._accepted = played.accepted[None]
        tokens = played.gained[None].astype(np.float64)
        outcome = self.round_outcome(RealDecision(length.astype(np.float64), bandwidth), tokens)
        tokens_drafted = (length * self._measured.present).astype(np.float64)
        drafting = self.scenario.devices.joules(self.state.draft_energy)
        energy = self.scenario.uplink.round_joules(tokens_drafted, outcome.upload_time, self._token_energy, drafting)
        return outcome.changed(round_latency=np.array([self._measured.round_time])), tokens, energy

    @override
    def _count(self, decision: Decision, tokens: FloatArray, renewed: BoolArray) -> None:
        assert self._counts is not None
        present = self._measured.present[None]
        self._counts.advance(decision.draft_length * present, self._accepted, renewed, present)

    @override
    def _renew(self, rows: Rows, requests: Requests) -> None:
        task, age = self._verifier.task[None].copy(), self._verifier.age[None].copy()
        super()._renew(rows, Requests(task, np.full(task.shape, np.nan), age, np.zeros_like(age)))  # nobody knows rates

    @override
    def _set_states(self) -> None:
        self.users = self.users.changed(draft_time=self._testbed.token_time[None])
        super()._set_states()


class TestbedEnv(MultiSpinEnv):
    """Rounds with real devices and a real target model, as `MultiSpin/HiddenAcceptance-v0`.

    Spaces, encodings, and entries of the observation and of ``info`` are those of that environment, so agents and
    plug-ins play it unchanged. Tokens are those of the requests, and the round's time is that of the server's
    clock. The reward is ``"sampled"``. ``reset`` begins new requests; the seed determines them and the channel, which
    paces the uploads. A device that has left counts 0 drafted and 0 accepted tokens. ``ValueError`` for what needs the
    true acceptance rates: ``optimum``, ``privileged``, and other rewards.

    Parameters
    ----------
    testbed
        A `Testbed` with one seat.
    scenario
        Its scenario, if given.
    arguments
        Arguments of `MultiSpin/HiddenAcceptance-v0`.
    """

    def __init__(
        self,
        testbed: Testbed,
        scenario: Any = None,
        *,
        reward: str = "sampled",
        render_mode: str | None = None,
        **arguments: Any,
    ) -> None:
        check_instance("testbed", testbed, Testbed)
        if scenario is not None and Scenario.resolve(scenario) != testbed.scenario:
            raise ValueError("scenario: expected that of the testbed, got another one")
        check_name("reward", reward, ("sampled",))
        for name in ("optimum", "privileged"):
            if arguments.get(name):
                raise ValueError(f"{name}: expected False, since nobody knows the acceptance rates, got True")
        if not testbed.settings.pacing:
            raise ValueError("pacing: expected a testbed that paces uploads by the channel, got one that does not")
        super().__init__(
            testbed.scenario, env_id=HiddenAcceptance.env_id, reward=reward, render_mode=render_mode, **arguments
        )
        self._zero_info()  # by a simulated step
        self._simulator = _PlayedSimulator(self.config, testbed)


def refuse_vector(**_: Any) -> NoReturn:
    """Raise ``ValueError``: a testbed plays one environment."""
    raise ValueError("num_envs: expected gym.make, since a testbed plays one environment, got gym.make_vec")
