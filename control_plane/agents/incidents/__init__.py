"""The part of the healing agent that opens, follows and closes incidents."""
