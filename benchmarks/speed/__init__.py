"""Speed of the package."""
