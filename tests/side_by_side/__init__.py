"""The whole suite as stages that run at the same time: isolated labs, and the rest on the host."""
