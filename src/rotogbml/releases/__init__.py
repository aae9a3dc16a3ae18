"""Published data sets as their publishers release them: read in place, checked, split and packed. We own no link."""
