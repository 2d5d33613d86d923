"""Applications: commands, the page of explore, figures, films, and real models."""
