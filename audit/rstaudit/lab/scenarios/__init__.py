"""One module a scenario, or a small family of them."""
