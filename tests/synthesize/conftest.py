"""The small data sets of the other tests are at hand here as well."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
