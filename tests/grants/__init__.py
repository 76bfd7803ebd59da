"""Kinds of grants."""
