"""A page with sliders, to see why a decision is what it is; each view is a chapter, which computes and draws."""
