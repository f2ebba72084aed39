"""Ratios against named peers, in one run: `make bench [BENCH=NAME]`. No test, no gate on a noisy machine."""
