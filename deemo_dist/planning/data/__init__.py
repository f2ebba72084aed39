"""What a run asks of its storage: simulated by the loader's own code, scaled to a dataset that is not there yet."""
