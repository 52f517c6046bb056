"""Records on disk: their schema, the journal of a run in progress, stored runs and paired runs."""
