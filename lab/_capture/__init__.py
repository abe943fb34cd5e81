"""Behind `lab.graph.capture`: from PyTorch's exported program to operations, the proof of it, and the messages.

`export.py` asks torch.export for the node list, `translate.py` writes it down as operations, `proof.py` compares the
result with the network, `messages.py` says what is wrong in the words of the person who wrote the network.
"""
