"""Made host trees of several kernels, and what writes them."""
