"""Room 7: fixed episodes of sources never seen, an accuracy for each, rows and paired differences."""
