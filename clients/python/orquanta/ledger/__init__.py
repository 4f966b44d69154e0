"""The audit as a ledger that proves itself: hash chain, Merkle tree, signed checkpoints, and their verification.

The server writes by these modules and anybody can verify with them, offline and without the server.
"""
