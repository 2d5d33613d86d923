"""Pictures of the family without the barrier."""
