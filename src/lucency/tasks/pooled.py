"""What tasks with one answer per image share: which network reads the image."""

from lucency.profile import Profile


def image_network(profile: Profile) -> tuple[str, str]:
    """Return the default network for one answer per image, and the reason.

    Args:
        profile: Of the training part; what runs along k in most of its volumes decides.
    """
    volumes = profile.dims.get(3, 0)
    visits = profile.k_axes.get("visit", 0)
    clips = visits or profile.k_axes.get("time", 0) if volumes else 0
    if 2 * clips > volumes:
        found = "cases are visits of a patient" if visits else "images are clips"
        return "recurrent", (
            f"{clips} of {profile.n_cases} {found}: one 2-D encoder for all frames and a GRU over them, in "
            "both directions; mean, attention and a 3-D network beside it, each trained for as long"
        )
    return "resnet", "pre-activation ResNet: residual networks hold the small-image reference tables"
