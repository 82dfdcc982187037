"""Pages: one offline HTML file each, from run folders alone."""
