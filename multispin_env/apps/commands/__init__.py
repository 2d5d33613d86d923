"""The console command ``multispin`` and its commands that need no torch."""
