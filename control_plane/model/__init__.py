"""Frozen dataclasses, enums and ids that every layer shares, one file per noun."""
