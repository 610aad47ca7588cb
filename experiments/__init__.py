"""Claims, one module each.

Their results stand in `results/` as JSON; tables and figures are made from those.
"""
