"""Two contenders on the same states, side by side: in a window, or as a film in a file."""
