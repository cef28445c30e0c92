"""``python -m startonce`` is the command ``startonce``."""

from startonce.cli import main

if __name__ == "__main__":
    main()
