"""Suite of frozen tasks with known optima or bounds for comparing learning methods."""

from multispin_env.evaluation.suite.recording import record
from multispin_env.evaluation.suite.statistics import Score
from multispin_env.evaluation.suite.tasks import SuiteTask
from multispin_env.evaluation.suite.version import task, tasks

__all__ = ["Score", "SuiteTask", "record", "task", "tasks"]
