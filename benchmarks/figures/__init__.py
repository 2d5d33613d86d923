"""Figures of the evidence pages that are not the paper's."""
