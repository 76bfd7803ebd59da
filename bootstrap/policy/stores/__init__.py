"""Where policies are kept."""
