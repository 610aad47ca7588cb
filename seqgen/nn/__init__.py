"""Building blocks: pure functions over plain pytrees that know no data."""
