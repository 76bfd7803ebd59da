"""`python -m bootstrap` is `airlock`."""

from bootstrap.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
