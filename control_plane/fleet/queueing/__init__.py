"""The order of the queue: whose turn it is, who may borrow, who makes way, and when a job may expect to start."""
