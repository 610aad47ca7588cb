"""From losses to a trained state: batches, steps, the loop over epochs. It knows functions only."""
