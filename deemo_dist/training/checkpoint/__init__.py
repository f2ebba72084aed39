"""Checkpoints in the project's own format: per-rank safetensors partitions, receipts, an immutable commit.

DeepSpeed's own are not used: its universal loading gives the first group's hyper-parameters to all groups, and both of
its formats are pickles.
"""
