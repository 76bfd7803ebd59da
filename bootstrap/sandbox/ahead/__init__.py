"""Network namespaces that are prepared before the jobs that use them."""
