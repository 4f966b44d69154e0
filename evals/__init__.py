"""Evals: whether OrQuanta reads goals rightly, stays safe under attack, and finds the causes of failures."""
