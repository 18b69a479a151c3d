"""Time cut into intervals: what a discrete-time hazard learns, and the curve that it gives."""

import numpy as np

from lucency.errors import DataError
from lucency.survival.outcome import Outcomes

#: Intervals at most and at least, and the events that one should hold (Kvamme & Borgan 2021,
#: doi:10.1007/s10985-021-09532-6: 10 to 20 quantile bins; fewer where events are few).
MOST, LEAST, EVENTS_EACH = 20, 4, 5
#: Added to the events and the patients at risk of an interval, so that none is impossible or certain.
PRIOR = 0.5


def edges_of(event_times: np.ndarray) -> np.ndarray:
    """Return where to cut time so that every interval holds about as many events.

    Args:
        event_times: (n,) days, of the training part's events of any kind.

    Returns:
        (m + 1,) days, ascending, the first 0 and the last the latest event.

    Raises:
        DataError: No event after day 0.
    """
    times = np.asarray(event_times, dtype=np.float64)
    times = times[times > 0]
    if not times.size:
        raise DataError("No event after day 0", expected="events with times above 0", remedy="check the time column")
    wanted = int(np.clip(times.size // EVENTS_EACH, LEAST, MOST))
    cuts = np.unique(np.quantile(times, np.arange(1, wanted + 1) / wanted, method="higher"))
    return np.concatenate([[0.0], cuts])


def labelled(outcomes: Outcomes, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which intervals each patient was observed through, and what happened in each.

    An interval ends at its upper edge, that day included. A censored patient counts as having come through the
    interval in which he was last seen if that was beyond its middle.

    Args:
        outcomes: (n,) patients.
        edges: (m + 1,) days.

    Returns:
        (n, m) bool at risk and (n, m) int: 0 nothing, else the kind of event. Events beyond the last edge are not
        seen.

    Source:
        Gensheimer & Narasimhan 2019, doi:10.7717/peerj.6257.
    """
    time, event = outcomes.time[:, None], outcomes.event[:, None]
    lower, upper = edges[None, :-1], edges[None, 1:]
    inside = (time > lower) & (time <= upper)
    inside[:, 0] |= outcomes.time == 0
    here = inside & (event > 0)
    through = np.where(event > 0, time > upper, time >= (lower + upper) / 2)
    return through | here, here * event


def marginal_logits(outcomes: Outcomes, edges: np.ndarray, n_causes: int) -> np.ndarray:
    """Return (causes, m) log odds of each kind of event against none, in each interval, of all patients together."""
    at_risk, kind = labelled(outcomes, edges)
    none = (at_risk & (kind == 0)).sum(axis=0) + PRIOR
    each = [(at_risk & (kind == c)).sum(axis=0) + PRIOR / n_causes for c in range(1, n_causes + 1)]
    return np.asarray(np.log(np.stack(each) / none))


def incidence_of(logits: np.ndarray) -> np.ndarray:
    """Return the probability of each kind of event by the end of each interval.

    Args:
        logits: (n, causes, m) log odds of each kind of event against none, for those still without.

    Returns:
        (n, causes, m), rising; over the causes at most 1.
    """
    top = np.maximum(logits.max(axis=1, keepdims=True), 0.0)
    odds, none = np.exp(logits - top), np.exp(-top)
    hazard = odds / (odds.sum(axis=1, keepdims=True) + none)
    survived = np.cumprod(1 - hazard.sum(axis=1), axis=1)
    before = np.concatenate([np.ones((len(logits), 1)), survived[:, :-1]], axis=1)
    return np.asarray(np.cumsum(hazard * before[:, None], axis=2))


def incidence_at(incidence: np.ndarray, edges: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return (n, t) incidence at any times, straight within an interval and level beyond the last.

    Args:
        incidence: (n, m) of one cause at the ends of the intervals.
        edges: (m + 1,) days.
        times: (t,) days.
    """
    full = np.concatenate([np.zeros((len(incidence), 1)), incidence], axis=1)
    return np.stack([np.interp(times, edges, row) for row in full]) if len(full) else np.zeros((0, len(times)))


def median_days(incidence: np.ndarray, edges: np.ndarray) -> float | None:
    """Return the day by which the event is as likely as not, or None where that lies beyond what was observed.

    Args:
        incidence: (m,) of any event at the ends of the intervals.
        edges: (m + 1,) days.
    """
    full = np.concatenate([[0.0], incidence])
    if full[-1] < 0.5:
        return None
    at = int(np.argmax(full >= 0.5))
    share = (0.5 - full[at - 1]) / (full[at] - full[at - 1])
    return float(edges[at - 1] + share * (edges[at] - edges[at - 1]))
