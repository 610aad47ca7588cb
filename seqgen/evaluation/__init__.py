"""Scores of answers, of perplexity and of attention, and the intervals that go with them."""
