"""From Parquet to the database: migration, verification, rollback, and the switch in phases."""
