"""What certifiers are made of: relaxations, the walks through them, and what rounding may cost."""
