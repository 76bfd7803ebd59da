"""One machine as a fleet: Docker, a world behind a bridge, a control plane and real agents."""
