"""Ground: pure mathematics on jax, numpy and scipy; imports nothing of irob."""
