"""How fast, how lean and how right is Gemma text generation on this machine?

The programs are in bin/; they find PyTorch's and MLX's libraries in the packages `torch` and `mlx` beside
this one. The command `mlxbench` and `python -m mlxbench` start them.
"""
