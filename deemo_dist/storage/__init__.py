"""One door to objects, whether they are files (file://) or in an S3 bucket (s3://)."""

from deemo_dist.storage.open import fetch_uri, open_store, read_uri
from deemo_dist.storage.store import SINGLE_PUT_BYTES, Store, Stored

__all__ = ["SINGLE_PUT_BYTES", "Store", "Stored", "fetch_uri", "open_store", "read_uri"]
