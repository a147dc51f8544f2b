"""Follow resets live: events, sockets and counters joined."""
