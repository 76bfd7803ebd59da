"""One file per module of bootstrap/aws."""
