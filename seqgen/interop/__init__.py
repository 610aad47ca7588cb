"""Other people's files: weights as somebody else wrote them, in and out."""
