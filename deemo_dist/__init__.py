"""deemo_dist: from raw clips to a reviewed emotion model that never saw a face.

Importing this package loads neither torch nor Ray, DeepSpeed or MLflow; `import deemo_dist.model` registers the
Auto classes of DEEMO-LLaMA with transformers.
"""

__version__ = "0.1.0"
