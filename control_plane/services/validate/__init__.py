"""What a request must be before anything is done with it; by noun."""
