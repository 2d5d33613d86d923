"""Two batches that take turns."""

from dataclasses import dataclass, field

from multispin_env.controllers.continuous.groups import Groups


@dataclass(frozen=True, eq=False)
class MineDraft(Groups):
    """Half of the devices draft while the drafts of the others are verified (MineDraft, arXiv 2603.18016).

    It is `Groups` with two groups. Theirs drafts a whole batch on a GPU beside the server's; here each device drafts by
    itself, drafts go over an uplink, and lengths fit into the time that the other batch leaves.
    """

    groups: int = field(default=2, init=False)
