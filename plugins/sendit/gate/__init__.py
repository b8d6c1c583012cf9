"""The gate: a finished archive is read again and searched for real values."""
