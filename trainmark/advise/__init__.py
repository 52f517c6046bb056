"""Which setting to use, whether compiling pays, and what to know before numbers are trusted."""
