"""What two runs or sides differ in, and what may be said of it: arrays in, values out."""
