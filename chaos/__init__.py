"""The chaos harness: the real DAG on real processes, one fault per round, then the guarantees are
checked.

``make chaos ROUNDS=200 SEED=7``. The same seed gives the same faults at the same moments.
"""
