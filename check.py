"""Run format, lint, types and all tests in the project's own environment; stop at the first that fails."""

import argparse
import sys
import time

import bootstrap


def main() -> int:
    """Return 0 when all passed, else the status of what failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fast", action="store_true", help="leave out the tests marked journey")
    parser.add_argument("--lint", action="store_true", help="only format, lint and types")
    parser.add_argument("--no-peers", action="store_true", help="install no programs of others that some tests use")
    options = parser.parse_args()
    try:
        python = str(bootstrap.ready())
    except bootstrap.NotReadyError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    steps = {
        "format": ["ruff", "format", "--check", "."],
        "lint": ["ruff", "check", "."],
        "types": ["mypy"],
        "tests": ["pytest", *(["-m", "not journey"] if options.fast else [])],
    }
    if options.lint:
        del steps["tests"]
    elif not options.no_peers:
        bootstrap.peers()
    times = []
    start = time.monotonic()
    for name, command in steps.items():
        bootstrap.say(f"--- {name}: {' '.join(command)}")
        begin = time.monotonic()
        status = bootstrap.run([python, "-m", *command])
        times.append(f"{name} {time.monotonic() - begin:.0f} s")
        if status != 0:
            bootstrap.say(f"FAILED: {name} ({', '.join(times)})")
            return status if status > 0 else 1  # killed by a signal: a negative number
    bootstrap.say(f"PASSED in {time.monotonic() - start:.0f} s ({', '.join(times)})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
