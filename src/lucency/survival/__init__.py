"""Times to an event of which some are only known to be longer: curves, ranking, errors, calibration.

Plain numbers in, plain numbers out; what takes weights of cases takes a row of them for every resample, so that
:func:`lucency.statistics.resampled` gives any of them an interval by patients.
"""
