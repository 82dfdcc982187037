"""Where jobs run: in this process or in one process for each core, behind one map."""
