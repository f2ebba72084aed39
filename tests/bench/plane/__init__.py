"""The parts of the data bench: samples, writing, reading, resuming; each beside its peers."""
