"""The fault harness: the real DAG on real processes, broken once a round, and the promise checked.

``make chaos ROUNDS=200 SEED=7``. The same seed gives the same faults at the same moments.
"""
