"""Ratios against named peers, side by side in one run: `make bench [BENCH=NAME]`. No test, no gate on a noisy machine."""
