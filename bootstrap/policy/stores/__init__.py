"""Where policies are kept."""

# Seconds for the documents of one decision. SSM's 40 calls per second and account are shared by a
# whole fleet: 300 jobs at once need 8 s of them.
PATIENCE = 60.0
