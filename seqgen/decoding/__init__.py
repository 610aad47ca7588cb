"""Decoding over any model's `step`: greedy, sampling, beam search, and what changes the logits."""
