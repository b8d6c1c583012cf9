"""Airflow hooks: connections to the services around sendit."""
