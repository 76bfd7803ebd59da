"""One job's container: specification, ruleset, proof, supervision, and what is cleared after it."""
