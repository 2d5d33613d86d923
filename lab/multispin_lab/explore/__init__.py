"""Interactive web page with sliders: views compute and draw why a decision is optimal."""
