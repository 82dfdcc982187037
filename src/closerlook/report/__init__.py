"""One offline HTML page from the datasets of a run."""
