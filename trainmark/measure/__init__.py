"""How a cell is measured: a fresh process, warm-up, timed rounds, instruments, counts; and the run of all cells."""
