"""Many messages, and a fault on many attempts: is each event where the promise says?"""
