#!/usr/bin/env python3
"""What tests/train/style_gan2.rs expects: StyleGAN2's discriminator as its PyTorch implementations have it, 16-pixel pictures,
4 channels at first, eight pictures, in f64. Prints the logits, and the lengths of some gradients of their sum of squares."""
import math

import torch
import torch.nn.functional as F

NAMES = [("convs.0.0.weight", (4, 3, 1, 1)), ("convs.0.1.bias", (4,))]
for i, a, b in [(1, 4, 8), (2, 8, 16)]:
    NAMES += [(f"convs.{i}.conv1.0.weight", (a, a, 3, 3)), (f"convs.{i}.conv1.1.bias", (a,)),
              (f"convs.{i}.conv2.1.weight", (b, a, 3, 3)), (f"convs.{i}.conv2.2.bias", (b,)),
              (f"convs.{i}.skip.1.weight", (b, a, 1, 1))]
NAMES += [("final_conv.0.weight", (16, 17, 3, 3)), ("final_conv.1.bias", (16,)),
          ("final_linear.0.weight", (16, 256)), ("final_linear.0.bias", (16,)),
          ("final_linear.1.weight", (1, 16)), ("final_linear.1.bias", (1,))]


def values(seed: int, shape: tuple[int, ...]) -> torch.Tensor:
    i = torch.arange(math.prod(shape))
    return (((i + 1) * (i + 7919 + 2 * seed) % 1009).double() / 252.25 - 2.0).view(shape)


w = {name: values(k, shape).requires_grad_(True) for k, (name, shape) in enumerate(NAMES)}
lrelu = lambda x: F.leaky_relu(x, 0.2) * math.sqrt(2)
conv = lambda x, name, **how: F.conv2d(x, w[name] / math.sqrt(w[name][0].numel()), **how)
bias = lambda x, name: lrelu(x + w[name].view(1, -1, 1, 1))


def blur(x: torch.Tensor, pad: int) -> torch.Tensor:
    k = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=torch.float64)
    k = (k[:, None] * k[None, :] / 64).expand(x.shape[1], 1, 4, 4)
    return F.conv2d(F.pad(x, (pad,) * 4), k, groups=x.shape[1])


x = values(99, (8, 16, 16, 3)).permute(0, 3, 1, 2)
x = bias(conv(x, "convs.0.0.weight"), "convs.0.1.bias")
for i in (1, 2):
    h = bias(conv(x, f"convs.{i}.conv1.0.weight", padding=1), f"convs.{i}.conv1.1.bias")
    h = bias(conv(blur(h, 2), f"convs.{i}.conv2.1.weight", stride=2), f"convs.{i}.conv2.2.bias")
    x = (h + conv(blur(x, 1), f"convs.{i}.skip.1.weight", stride=2)) / math.sqrt(2)
# Two sets of four.
deviation = (x.view(4, 2, *x.shape[1:]).var(0, unbiased=False) + 1e-8).sqrt().mean((1, 2, 3))
deviation = deviation.repeat(4).view(8, 1, 1, 1).expand(-1, 1, 4, 4)
x = bias(conv(torch.cat([x, deviation], 1), "final_conv.0.weight", padding=1), "final_conv.1.bias")
linear = lambda x, name: F.linear(x, w[f"{name}.weight"] / math.sqrt(w[f"{name}.weight"].shape[1]), w[f"{name}.bias"])
x = linear(lrelu(linear(x.flatten(1), "final_linear.0")), "final_linear.1")
print("logits", x.flatten().tolist())
x.square().sum().backward()
for name, _ in NAMES:
    print(f'("{name}", {w[name].grad.norm().item():.9}),')
