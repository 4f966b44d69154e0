"""What hosts send all the time: samples in windows of fixed size, and the output of jobs."""
