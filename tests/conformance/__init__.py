"""What AWS does, one test a behaviour, against any endpoint.

These tests use AWS's public APIs alone, and make things fail with the code of handlers, so that
they run against an account on AWS, the local cloud and other emulators alike::

    make conformance                                            # its own local cloud
    make conformance ENDPOINT=http://127.0.0.1:4566 SPEED=1     # something that runs already
    make conformance ENDPOINT=aws                               # the caller's own account

``known_gaps.py`` names the behaviours that the local cloud does not have yet.
"""
