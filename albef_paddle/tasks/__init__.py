"""ALBEF's tasks, one file each."""
