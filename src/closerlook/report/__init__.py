"""Reports: one offline HTML file each, from datasets alone."""

from closerlook.report.demo import Demo, demo_page

__all__ = ["Demo", "demo_page"]
