"""One loop an agent: load, decide, propose. None of them has an effect of its own."""
