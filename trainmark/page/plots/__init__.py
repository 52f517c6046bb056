"""Pictures of a run's records: each module draws one kind, and each picture says what to see in it."""
