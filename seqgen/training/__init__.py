"""From losses to a new `TrainState`: these modules know functions, not models."""
