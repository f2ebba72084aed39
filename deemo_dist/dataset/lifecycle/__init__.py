"""The verbs of a dataset's life after it was made: list, merge, filter, erase, re-key, collect garbage.

A version never changes. Each verb makes another version by receipts, or removes what nothing refers to. Import the file
of a verb: this package itself imports nothing, so that whoever reads a dataset can ask for its tombstone.
"""
