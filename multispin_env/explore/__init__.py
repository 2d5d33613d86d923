"""A page with sliders, to see why a decision is what it is.

Each view has two files: one here, which computes and needs no package for pages, and one in ``pages``, which draws.
"""
