"""How fast the deployed service runs in the local cloud, beside another emulator.

``make bench`` runs all of it; ``python -m benchmarks --help`` shows what can be left out.
"""
