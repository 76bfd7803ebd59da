"""The back end of a replay: everything stays on this machine."""
