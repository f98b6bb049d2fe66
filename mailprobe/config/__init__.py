"""The configuration: one YAML file, the environment over it, secrets by reference; every problem said at once."""
