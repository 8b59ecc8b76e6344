"""What an evaluation found, as ``report.json`` for programs and ``report.html`` for eyes."""

from talksplat.report.figures import EvaluationReport, read_report, write_report
from talksplat.report.gallery import Gallery
from talksplat.report.page import write_page

__all__ = ["EvaluationReport", "Gallery", "read_report", "write_page", "write_report"]
