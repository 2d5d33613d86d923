"""Seeds that evaluation, tuning and training share out, so that nothing is measured on what taught it."""

BOOTSTRAP_SEED = 0
"""Intervals are computed with a generator of this seed for each row, so that a table repeats to the bit."""

HELD_OUT_SEED = 2606_04581
"""Seed of the states that everything is compared on; training never uses it."""

VALIDATION_SEED = 2606_04582
"""Seed of the states that a training run watches itself on."""

STATE_ROOM = 2 * 10**6
"""Seeds from the first of the two above on that are kept for states, so that fresh ones can be drawn."""

SEED_ROOM = 10**8
"""Episodes that each of the two seeds below may start: copy i of a vector environment is seeded with seed + i."""

TUNING_SEED = 10**9
"""First seed of the episodes that estimators are tuned on; whatever trains may use it and those below it."""

EPISODE_SEED = TUNING_SEED + SEED_ROOM
"""First seed of the episodes that contenders are compared on; training and tuning never use it or those above it."""
