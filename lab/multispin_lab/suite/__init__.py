"""Suite of frozen tasks with known optima or bounds for comparing learning methods."""

from multispin_lab.suite.recording import record
from multispin_lab.suite.statistics import Score
from multispin_lab.suite.tasks import SuiteTask
from multispin_lab.suite.version import task, tasks

__all__ = ["Score", "SuiteTask", "record", "task", "tasks"]
