"""AWS: the clients, how their failures are told apart, and one module per service."""
