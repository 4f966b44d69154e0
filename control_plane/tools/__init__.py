"""Tools: what agents may do with the fleet, typed; what changes something is a proposal to the governor."""
