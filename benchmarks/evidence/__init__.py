"""Evidence about the optimum, the bound and the rules."""
