"""The OrQuanta control plane."""
