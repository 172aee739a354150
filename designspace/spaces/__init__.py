"""Which networks: axes, constraints, design spaces and the populations drawn from them. No torch."""
