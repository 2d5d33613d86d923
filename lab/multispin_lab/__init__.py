"""Products around multispin_env: own models, real devices, answers for a server, the suite, the page, the figures."""
