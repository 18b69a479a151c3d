"""Try the whole line on generated patients: make the environment, then ``lucency demo``. Options are passed on."""

import sys

import bootstrap


def main() -> int:
    """Return the exit status of ``lucency demo``."""
    try:
        python = bootstrap.ready()
    except bootstrap.NotReadyError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return bootstrap.run([str(python), "-m", "lucency", "demo", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
