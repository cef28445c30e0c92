"""Run, break and watch the startonce service on one machine.

The package is the tool half of the project: it is never deployed, and the service does not know
of it. Start with :mod:`startonce.cli` for the commands and :mod:`startonce.local` for the local
cloud.
"""
