"""What a run looked like: report.html of one training, and several of them side by side."""
