"""What each task of the DAG does, without Airflow."""
