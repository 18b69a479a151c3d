"""A folder of medical images becomes an honest, calibrated, documented model, or a clear reason why not."""

__version__ = "0.1.0"
