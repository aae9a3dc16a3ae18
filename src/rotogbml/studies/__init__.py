"""Many runs that answer one question: a declared grid, its cells in parallel, one table of paired differences."""
