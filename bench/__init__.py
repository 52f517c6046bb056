"""What is measured, and how: one fresh process a cell, three passes, one record."""
