"""Game days: scripted faults on a fleet of virtual hosts, with real programs, ports and credentials."""
