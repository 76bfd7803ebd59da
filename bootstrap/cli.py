"""The way in. Nothing is imported before the environment is gone: libraries act upon being loaded.

OpenSSL, for one, reads OPENSSL_CONF the first time that anything is hashed, and runs what it names.
"""

import os


def main() -> int:
    """Run one command and return its exit status; 2 for a wrong command line."""
    process_env = dict(os.environ)
    os.environ.clear()
    from bootstrap.command_line import run  # noqa: PLC0415 - see above

    return run(process_env)
