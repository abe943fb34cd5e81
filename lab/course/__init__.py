"""How a lab is made and handed out: a notebook's editions, their execution, a class's copies.

This package may use the lab's face; the face never uses it.
"""
