"""The networks and their losses; knows no files and no data."""
