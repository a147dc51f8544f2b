"""Every scenario, staged with real sockets in throw-away network namespaces."""
