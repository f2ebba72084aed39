"""The parts of the training bench: the loop, packs, checkpoints, the start; each beside its peer."""
