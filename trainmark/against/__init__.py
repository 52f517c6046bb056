"""Two sides measured together, pair by pair."""
