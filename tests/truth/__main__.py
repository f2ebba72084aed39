"""`python -m tests.truth`: print the boxes file of the dubbed sample clips."""

import sys

from tests.truth import boxes_of_samples

sys.stdout.write(boxes_of_samples())
