"""AWS: the clients, the kinds of their failures, and one module per service."""
