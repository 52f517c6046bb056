"""Meters: each measures one thing around a piece of work, and gives None where it cannot."""
