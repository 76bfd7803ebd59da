"""Tests of the commands as an operator uses them."""
