"""The check whether a commit belongs to its branch, in a container of its own."""
