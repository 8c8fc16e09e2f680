"""Training: loops over batches with an engine and a report callback; nothing here knows Ray."""
