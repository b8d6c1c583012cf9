"""The pipeline: what each task of the DAG does, without Airflow."""
