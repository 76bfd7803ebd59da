"""Policies: their documents, the decision, guardrails, and queries about them."""
