"""Rate of a periodic table of draft lengths in plain Python, without code of the package."""

import itertools

PERIODS = 16
COUNTED = 8


def rate(table, draft_time, token_time, acceptance_rate, verification_time, delay=0.0):
    """Return the tokens/s of a table: batches of lengths, ``None`` for a device outside the batch; 0 is an empty draft.

    Uploads go in the order of their batches; each batch starts when the server is free and its last upload has ended.
    """
    users = range(len(draft_time))
    if any(all(row[k] is None for k in users) for row in table):
        return 0.0
    free, server, jobs, ends = [0.0 for _ in users], 0.0, {}, []
    batches = [row for _ in range(PERIODS) for row in table]
    for number, row in enumerate(batches):
        for k in users:
            if row[k] is not None:  # its draft began when its last verification ended
                jobs[number, k] = (free[k] + delay + row[k] * draft_time[k], row[k] * token_time[k])
        now = 0.0
        for release, work in sorted(jobs.values()):  # the uplink is work-conserving, and later batches wait
            now = max(now, release) + work
        lengths = [length for length in row if length is not None]
        server = max(server, now) + verification_time(lengths)
        free = [server if row[k] is not None else free[k] for k in users]
        ends.append(server)
        jobs = {key: job for key, job in jobs.items() if key[0] > number - 2 * len(table)}
    seconds = (ends[-1] - ends[-1 - COUNTED * len(table)]) / COUNTED
    return sum(gained(row[k], acceptance_rate[k]) for row in table for k in users) / seconds


def gained(length, acceptance_rate):
    return 0.0 if length is None else sum(acceptance_rate**n for n in range(length + 1))


def tables(users, batches, lengths):
    cells = itertools.product((None, *lengths), repeat=users * batches)
    return ([cell[i : i + users] for i in range(0, users * batches, users)] for cell in cells)


def best_rate(users, batches, lengths, *system, **options):
    return max(
        rate(table, *system, **options) for count in range(1, batches + 1) for table in tables(users, count, lengths)
    )
