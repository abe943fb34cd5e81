"""The forms in which a platform takes grades: each is made of a `Standing` or a `Class`, and computes nothing."""
