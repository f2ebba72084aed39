"""An optimizer's state on a local disk (``engine.offload=nvme``): where, through which files, and when."""
