"""What it costs to know everybody: the engine's time for a file as the number of patients of a run grows."""

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import planted
import recorded

from lucency.deidentify import Options, sources
from lucency.deidentify.dates import Shift
from lucency.deidentify.engine import Engine, Person
from lucency.deidentify.keys import Identities, Keys
from lucency.deidentify.plain import PlainStrings
from lucency.read.head import silent

NAME = "everybody"
#: Patients of a run; the last is a large archive.
RUNS = (1, 100, 1000, 10_000)
TEXT = "CT CHEST w/o contrast 5.0 B30f, standard, series"


def main() -> None:
    """Time texts and files, and record it."""
    parser = recorded.parser(__doc__.splitlines()[0], NAME)
    parser.add_argument("--rounds", type=int, default=5, help="rounds, interleaved [5]")
    options = parser.parse_args()
    result = recorded.begin()
    runs = RUNS[:2] if options.quick else RUNS
    rounds = 1 if options.quick else options.rounds
    with tempfile.TemporaryDirectory() as folder:
        path = planted.series(Path(folder), 1, 64, reports=False)[0]
        rows, build = [], {}
        for n in runs:
            before = time.process_time()
            everybody = Identities.union(_people(n, options.seed))
            _ = everybody.plain, everybody.found_in(TEXT)
            build[str(n)] = round(time.process_time() - before, 3)
            rows.append(recorded.Row(f"text, {n} patients", _texts(everybody), 200))
            rows.append(recorded.Row(f"file, {n} patients", _files(path, everybody.plain), 40))
        times = recorded.interleaved(rows, rounds, time.process_time)
    cost = {row.name: round(statistics.median(times[row.name]) / row.amount * 1e3, 4) for row in rows}
    last = runs[-1]
    slower = round(cost[f"file, {last} patients"] / cost["file, 1 patients"], 3)
    said = f"CPU ms for a file with 1 and {last} patients in the run {cost['file, 1 patients']} and "
    said += f"{cost[f'file, {last} patients']} ({slower} times), for a text {cost[f'text, {last} patients']}"
    recorded.write(NAME, said, {**result, "cpu_ms": cost, "cpu_s_to_prepare": build, "slower": slower}, options)


def _people(n: int, seed: int) -> list[Identities]:
    """Return patients with a name, a number and a birth date each."""
    rng = np.random.default_rng(seed)

    def word(low: int, high: int) -> str:
        return "".join(chr(97 + c) for c in rng.integers(0, 26, rng.integers(low, high))).title()

    made = []
    for _ in range(n):
        name, number = f"{word(4, 10)}^{word(3, 9)}", str(rng.integers(10**6, 10**7))
        birth = f"{rng.integers(1920, 2020)}{rng.integers(1, 13):02}{rng.integers(1, 29):02}"
        made.append(Identities(frozenset({name}), frozenset({number}), frozenset({birth})))
    return made


def _texts(everybody: Identities) -> Any:
    def work() -> None:
        for n in range(200):
            everybody.found_in(f"{TEXT} {n}")

    return work


def _files(path: Path, everybody: PlainStrings) -> Any:
    """Clean one file again and again, each time with texts that were not met before."""
    keys = Keys(bytes(32))

    def work() -> None:
        engine = Engine(keys, Options(clean=Options().clean - {"pixels"}))
        engine.scrubber.everybody = everybody
        for n in range(40):
            dataset = sources.load(path, path.name, pixels=True)
            assert dataset is not None
            dataset.SeriesDescription, dataset.SoftwareVersions = f"{TEXT} {n}", f"V {n}"
            with silent():
                person = Person("P0", Shift(-1, 1), sources.identities_of(dataset), str(dataset.PatientID))
                engine.clean(dataset, person)

    return work


if __name__ == "__main__":
    main()
