"""The packs of cases, one module each."""
