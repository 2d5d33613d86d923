"""The same cases for everyone: independent states where all is known, else whole episodes."""
