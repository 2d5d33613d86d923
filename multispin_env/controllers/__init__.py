"""Controllers, which map batches of states to decisions; ``registry.CONTROLLERS`` lists their names."""
