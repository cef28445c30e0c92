"""``startonce redrive``: the way back for the messages in the failure queue.

A message leaves the queue only when its event is known to be on its way: every step before that may
be done twice, by two people at once or after an interruption, and comes to the same.
"""
