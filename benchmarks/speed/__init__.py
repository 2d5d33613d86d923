"""Parts of `benchmarks.env_speed`: what is measured, where a step spends its time, random streams, the report."""
