"""The per-round optimum: one problem, its relaxation, the fast rule, and the search that proves it."""
