"""This machine: its configuration and its locks."""
