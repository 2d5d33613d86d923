"""Evidence of how close one can get in a static channel: periodic tables of lengths, annealed and then followed."""
