"""Task wrappers: a few lines each, between Airflow and the domain modules."""
