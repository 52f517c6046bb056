"""What is read of stored runs: their comparison, its verdict, and one offline HTML page."""
