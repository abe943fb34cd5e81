"""One hand-in, graded where a platform runs it: Gradescope's container, a repository's workflow."""
