"""What the training part is like, in numbers only; profiles of two sites merge into the profile of their union."""

from lucency.profile.fingerprint import PerAxis, Profile
from lucency.profile.look import Loader, profile
from lucency.profile.sums import Summary, summary

__all__ = ["Loader", "PerAxis", "Profile", "Summary", "profile", "summary"]
