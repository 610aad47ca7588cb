"""Files of other programs: the book's weights, in and out; attention maps for pages and NumPy."""
