"""Input and output around the parsers: a host, or a recorded tree, becomes a HostState."""
