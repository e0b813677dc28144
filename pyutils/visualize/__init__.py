"""Pictures for people: training curves, contact sheets of predictions."""
