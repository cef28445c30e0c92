"""SQS on the clock, and the mappings that poll queues for functions."""
