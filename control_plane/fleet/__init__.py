"""Pure rules of the fleet: lifecycles, placement, progress and cost. No I/O, no await."""
