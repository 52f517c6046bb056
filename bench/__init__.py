"""What this suite measures: its workloads, grids and data sets; ``pytest bench`` runs them."""
