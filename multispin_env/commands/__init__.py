"""The console command ``multispin`` and what has no other home: ``multispin solve``."""
