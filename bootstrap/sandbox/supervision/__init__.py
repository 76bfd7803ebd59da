"""From the start gate to the end: what is watched, forwarded and explained meanwhile."""
