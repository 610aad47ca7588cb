"""Claims, one module each; their results stand in `results/` as JSON, tables and figures are made from those."""
