"""From finished archives to objects in Cloud Storage and rows in BigQuery."""
