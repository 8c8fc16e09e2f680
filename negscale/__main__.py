"""``python -m negscale``."""

from negscale.cli import main

if __name__ == "__main__":
    main()
