"""One door to objects, whether they are files (file://) or in an S3 bucket (s3://)."""

from deemo_dist.storage.open import fetch_uri, open_store, read_uri
from deemo_dist.storage.store import Store, Stored

__all__ = ["Store", "Stored", "fetch_uri", "open_store", "read_uri"]
