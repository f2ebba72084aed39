"""Capacity of training before there is a cluster: memory, arithmetic and traffic of a run on GPUs one does not have.

Counted on the model's own modules (``trace``), laid out as DeepSpeed does (``memory``), timed by a roofline
(``roofline``), and brought together for a stage of a run (``capacity``).
"""
