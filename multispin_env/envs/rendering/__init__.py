"""Rendering: records of episodes, pictures, windows and films."""
