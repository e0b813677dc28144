"""One reader for each annotation format: file in, `RecordTable` out."""
