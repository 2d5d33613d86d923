"""Pictures of rounds: what is remembered for them, how they are drawn, and where they are shown."""
