"""Numbers in, numbers out: measures and their intervals."""
