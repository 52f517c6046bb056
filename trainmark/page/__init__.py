"""One offline HTML page of a run, or of two sides that were measured together."""
