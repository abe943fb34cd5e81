"""Behind `lab.data`: which files a set has, in which forms people have them, and where they are looked for.

Nothing here imports torch: `.ci/fetch_data.py` and `lab.ready` are quick.
"""
