"""What the checks are about, read from this host: each reading has its bound and its deadline."""
