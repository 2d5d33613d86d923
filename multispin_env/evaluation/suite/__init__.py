"""Suite of frozen tasks with known optima or bounds, on which learning methods are compared."""

from multispin_env.evaluation.suite.recording import record
from multispin_env.evaluation.suite.statistics import Score
from multispin_env.evaluation.suite.tasks import SuiteTask
from multispin_env.evaluation.suite.version import task, tasks

__all__ = ["Score", "SuiteTask", "record", "task", "tasks"]
