"""HostState to findings; one module a family."""
