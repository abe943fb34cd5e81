"""How is a hand-in graded without trusting it? Nothing here imports, unpickles or runs what a student wrote."""
