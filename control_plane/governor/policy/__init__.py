"""Policies: rules in files, in CEL, that are asked about every proposal beside the built-in ones."""
