"""What is known: settings, causes, profiles, as data."""
