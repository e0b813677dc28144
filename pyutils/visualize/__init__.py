"""Figures: training curves, contact sheets of predictions."""
