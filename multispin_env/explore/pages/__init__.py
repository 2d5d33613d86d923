"""What the views look like."""
