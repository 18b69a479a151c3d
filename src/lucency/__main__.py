"""``python -m lucency`` is the command ``lucency``."""

from lucency.apps.cli import main

if __name__ == "__main__":
    main()
