"""Prints the tensors of a PyTorch checkpoint, one per line: name, dtype, shape, bytes in hex.

torch_bridge.py load FILE   what torch.load(weights_only=True) reads
torch_bridge.py save FILE   saves a checkpoint with views, shared storages and pickle protocol 4 first

Exit code 77: this Python has no torch.
"""
import sys

try:
    import torch
except ImportError:
    sys.exit(77)

NAMES = {torch.float64: "F64", torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16",
         torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8",
         torch.bool: "BOOL"}


def line(name, tensor):
    plain = tensor.detach().contiguous()
    if plain.dtype == torch.bfloat16:
        plain = plain.view(torch.int16)
    shape = ", ".join(str(extent) for extent in tensor.shape)
    return f"{name} {NAMES[tensor.dtype]} [{shape}] {plain.numpy().tobytes().hex()}"


def main():
    mode, path = sys.argv[1:]
    if mode == "load":
        tensors = torch.load(path, weights_only=True)
    else:
        torch.manual_seed(1)
        base = torch.randn(6, 8)
        tensors = {"base": base, "transposed": base.t(), "column": base[:, 3], "window": base[1:5:2, 2:7:3],
                   "expanded": base[0].expand(3, 8), "scalar": base[2, 2], "empty": base[:0],
                   "half": base.bfloat16()[::2], "parameter": torch.nn.Parameter(base[:2])}
        torch.save(tensors, path, pickle_protocol=4)
    for name, tensor in tensors.items():
        print(line(name, tensor))


main()
