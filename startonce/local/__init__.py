"""The local cloud: AWS as this service sees it, on one machine, with no account and no container.

Moto answers for every service but Lambda. Lambda is ours: each function's deployed zip runs in a
worker process with AWS's own runtime client, and fails and retries as it does on AWS.
:class:`startonce.local.server.LocalCloud` is the way in.
"""
