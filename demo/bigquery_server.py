"""The BigQuery emulator's command, with DuckDB's extensions from their wheels.

Run by ``.venv-demo``'s Python with HOME in the run folder: DuckDB keeps its extensions
below HOME and would otherwise fetch them from the internet.
"""

from bqemulator.cli import main
from duckdb_extensions import import_extension

if __name__ == "__main__":
    import_extension("spatial")
    main()
