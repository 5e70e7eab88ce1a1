"""The tokenizer and the FAR generator in PyTorch: the peer that the library's speed is compared with.

State-dict names are those of published checkpoints. Inference only. Weights come from the formula of the golden
cases, so no checkpoint is needed: `weights()` writes them once to a safetensors file that other programs can open too.
"""
import importlib.util
import json
import os
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[2]


# Weights -------------------------------------------------------------------------------------------------------------

def golden_dir(given: str | None = None) -> Path:
    """The folder of the golden cases: as given, $FQGAN_GOLDEN, or beside the sources."""
    given = given or os.environ.get("FQGAN_GOLDEN")
    places = [Path(given)] if given else [ROOT / "tests/golden", ROOT / "shared/golden", ROOT.parent / "shared/golden"]
    for place in places:
        if (place / "formula.py").is_file():
            return place
    raise FileNotFoundError(f"no golden cases (formula.py) in {', '.join(map(str, places))}")


def manifest(name: str, golden: Path) -> dict:
    return json.loads((golden / "manifests" / f"{name}.json").read_text())


def weights(name: str, golden: Path, build: Path) -> Path:
    """The safetensors file of a manifest's weights; made on first use."""
    path = build / f"{name}.safetensors"
    if path.is_file():
        return path
    from safetensors.numpy import save_file
    spec = importlib.util.spec_from_file_location("formula", golden / "formula.py")
    formula = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(formula)
    m = manifest(name, golden)
    tensors = {n: formula.tensor(n, t["shape"], t["offset"], t["scale"], m["seed"]) for n, t in m["tensors"].items()}
    build.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".part{os.getpid()}")
    save_file(tensors, part)
    part.rename(path)
    return path


def load(module: nn.Module, path: Path) -> None:
    """Fills a module from an f32 safetensors file, tensor by tensor, so that nothing is held twice or stays mapped."""
    with open(path, "rb") as f, torch.no_grad():
        n = int.from_bytes(f.read(8), "little")
        header = json.loads(f.read(n))
        for name, to in module.state_dict().items():
            h = header[name]
            if h["dtype"] != "F32" or h["shape"] != list(to.shape):
                raise ValueError(f"{name}: {h['dtype']} {h['shape']}, wanted F32 {list(to.shape)}")
            begin, end = h["data_offsets"]
            f.seek(8 + n + begin)
            to.copy_(torch.from_numpy(np.fromfile(f, np.float32, (end - begin) // 4)).view(to.shape))


# Tokenizer -----------------------------------------------------------------------------------------------------------

def norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(32, channels, eps=1e-6)


class ResnetBlock(nn.Module):
    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.norm1 = norm(c_in)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.norm2 = norm(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1)
        self.nin_shortcut = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x), inplace=True))
        h = self.conv2(F.silu(self.norm2(h), inplace=True))
        return h + self.nin_shortcut(x)


class AttnBlock(nn.Module):
    def __init__(self, c: int):
        super().__init__()
        self.norm = norm(c)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(c, c, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        q, k, v = (conv(h).flatten(2).transpose(1, 2).unsqueeze(1) for conv in (self.q, self.k, self.v))
        h = F.scaled_dot_product_attention(q, k, v)
        return x + self.proj_out(h.squeeze(1).transpose(1, 2).unflatten(2, x.shape[2:]))


class Downsample(nn.Module):
    def __init__(self, c: int):
        super().__init__()
        self.conv = nn.Conv2d(c, c, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    def __init__(self, c: int):
        super().__init__()
        self.conv = nn.Conv2d(c, c, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Level(nn.Module):
    def __init__(self, c_in: int, c_out: int, blocks: int, attention: bool, **resample: nn.Module):
        super().__init__()
        self.res = nn.ModuleList(ResnetBlock(c_in if i == 0 else c_out, c_out) for i in range(blocks))
        self.attn = nn.ModuleList(AttnBlock(c_out) for _ in range(blocks if attention else 0))
        self.tail = next(iter(resample), None)
        for name, module in resample.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Tensor:
        for i, res in enumerate(self.res):
            x = res(x)
            if len(self.attn):
                x = self.attn[i](x)
        return getattr(self, self.tail)(x) if self.tail else x


def middle(c: int) -> nn.ModuleList:
    return nn.ModuleList([ResnetBlock(c, c), AttnBlock(c), ResnetBlock(c, c)])


class SelfAttention(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        qkv = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        q, k, v = qkv.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.out_proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width)
        self.c_proj = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(F.gelu(self.c_fc(x)))


class AdapterBlock(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = SelfAttention(width, heads)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = Mlp(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class Adapter(nn.Module):
    def __init__(self, width: int, positions: int, layers: int = 6, heads: int = 8):
        super().__init__()
        self.positional_embedding = nn.Parameter(torch.empty(positions, width))
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = nn.Sequential(*(AdapterBlock(width, heads) for _ in range(layers)))
        self.ln_post = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[2:]
        position = self.positional_embedding
        if h * w != len(position):
            side = int(len(position) ** 0.5)
            grid = position.float().view(1, side, side, -1).permute(0, 3, 1, 2)
            grid = F.interpolate(grid, (h, w), mode="bicubic")
            position = grid.flatten(2)[0].T.to(position.dtype)
        t = x.flatten(2).transpose(1, 2) + position
        t = self.ln_post(self.transformer(self.ln_pre(t)))
        return t.transpose(1, 2).unflatten(2, (h, w))


def suffixed(name: str, branch: str) -> str:
    return f"{name}_{branch}" if branch else name


def adapter_name(branch: str) -> str:
    return "visual_head" if branch == "vis" else "semantic_head" + branch.removeprefix("sem")


class Encoder(nn.Module):
    """One feature map for each branch. The plain model is the one branch "", without an adapter."""

    def __init__(self, branches, ch, ch_mult, blocks, z_channels):
        super().__init__()
        self.branches = branches
        self.conv_in = nn.Conv2d(3, ch, 3, padding=1)
        self.conv_blocks = nn.ModuleList()
        c, last = ch, len(ch_mult) - 1
        for i, mult in enumerate(ch_mult):
            down = {} if i == last else {"downsample": Downsample(ch * mult)}
            self.conv_blocks.append(Level(c, ch * mult, blocks, i == last, **down))
            c = ch * mult
        self.mid = middle(c)
        positions = (256 >> last) ** 2
        for b in branches:
            if b:
                self.add_module(adapter_name(b), nn.Sequential(Adapter(c, positions)))
            self.add_module(suffixed("norm_out", b), norm(c))
            self.add_module(suffixed("conv_out", b), nn.Conv2d(c, z_channels, 3, padding=1))

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.conv_in(x)
        for m in (*self.conv_blocks, *self.mid):
            x = m(x)
        out = []
        for b in self.branches:
            h = getattr(self, adapter_name(b))(x) if b else x
            h = F.silu(getattr(self, suffixed("norm_out", b))(h))
            out.append(getattr(self, suffixed("conv_out", b))(h))
        return out


class Decoder(nn.Module):
    def __init__(self, ch, ch_mult, blocks, z_channels):
        super().__init__()
        c, last = ch * ch_mult[-1], len(ch_mult) - 1
        self.conv_in = nn.Conv2d(z_channels, c, 3, padding=1)
        self.mid = middle(c)
        self.conv_blocks = nn.ModuleList()
        for i, mult in enumerate(reversed(ch_mult)):
            up = {} if i == last else {"upsample": Upsample(ch * mult)}
            self.conv_blocks.append(Level(c, ch * mult, blocks + 1, i == 0, **up))
            c = ch * mult
        self.norm_out = norm(c)
        self.conv_out = nn.Conv2d(c, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for m in (*self.mid, *self.conv_blocks):
            x = m(x)
        return self.conv_out(F.silu(self.norm_out(x), inplace=True))


class Codebook(nn.Module):
    def __init__(self, codes: int, width: int):
        super().__init__()
        self.embedding = nn.Embedding(codes, width)
        self.register_buffer("rows", None, persistent=False)   # the normalised rows, f32

    def prepare(self) -> None:
        self.rows = F.normalize(self.embedding.weight.detach().float(), dim=1)

    def nearest(self, z: Tensor) -> Tensor:
        """Unit vectors: the smallest distance is the largest product."""
        b, _, h, w = z.shape
        with torch.autocast("cpu", enabled=False):
            q = F.normalize(z.float().flatten(2).transpose(1, 2).flatten(0, 1), dim=1)
            return (q @ self.rows.T).argmax(1).view(b, h, w)

    def lookup(self, codes: Tensor) -> Tensor:
        return F.embedding(codes, self.rows).permute(0, 3, 1, 2)


class Tokenizer(nn.Module):
    """Both directions, or only the one named by `part`, so that its memory can be measured alone."""

    def __init__(self, branches, f=16, codes=16384, width=8, ch=128, blocks=2, z_channels=256, part="both"):
        super().__init__()
        ch_mult = {16: (1, 1, 2, 2, 4), 8: (1, 2, 2, 4)}[f]
        self.branches, self.f, self.layout = tuple(branches), f, torch.contiguous_format
        for b in self.branches:
            self.add_module(suffixed("quantize", b), Codebook(codes, width))
        if part != "decode":
            self.encoder = Encoder(self.branches, ch, ch_mult, blocks, z_channels)
            for b in self.branches:
                self.add_module(suffixed("quant_conv", b), nn.Conv2d(z_channels, width, 1))
        if part != "encode":
            self.post_quant_conv = nn.Conv2d(width * len(self.branches), z_channels, 1)
            self.decoder = Decoder(ch, ch_mult, blocks, z_channels)

    def codebooks(self) -> list[Codebook]:
        return [getattr(self, suffixed("quantize", b)) for b in self.branches]

    def prepare(self) -> "Tokenizer":
        for c in self.codebooks():
            c.prepare()
        return self.eval().requires_grad_(False)

    def latents(self, x: Tensor) -> list[Tensor]:
        return [getattr(self, suffixed("quant_conv", b))(h) for b, h in zip(self.branches, self.encoder(x))]

    def encode(self, x: Tensor) -> Tensor:
        """(b, 3, H, W) in [-1, 1] -> (b, k, h, w)"""
        return torch.stack([c.nearest(z) for c, z in zip(self.codebooks(), self.latents(x))], 1)

    def embed(self, codes: Tensor) -> list[Tensor]:
        return [c.lookup(codes[:, i]) for i, c in enumerate(self.codebooks())]

    def decode_embedded(self, q: list[Tensor]) -> Tensor:
        z = torch.cat(q, 1).to(self.post_quant_conv.weight.dtype)
        return self.decoder(self.post_quant_conv(z.contiguous(memory_format=self.layout)))

    def decode(self, codes: Tensor) -> Tensor:
        """(b, k, h, w) -> (b, 3, H, W)"""
        return self.decode_embedded(self.embed(codes))


BRANCHES = {"dual": ("vis", "sem"), "triple": ("vis", "sem_mid", "sem_high"), "plain": ("",)}


def tokenizer(name: str, path: Path | None, part="both", dtype=torch.float32, channels_last=False) -> Tokenizer:
    """By manifest name, tokenizer_{dual,triple}_vq{16,8} or tokenizer_plain_vq{16,8} (which has random weights)."""
    _, kind, f = name.split("_")
    with torch.device("meta"):
        m = Tokenizer(BRANCHES[kind], int(f.removeprefix("vq")), part=part)
    m = m.to(dtype).to_empty(device="cpu")
    if channels_last:
        m = m.to(memory_format=torch.channels_last)
        m.layout = torch.channels_last
    if path is not None:
        load(m, path)
    else:
        with torch.no_grad():
            for p in m.parameters():
                p.uniform_(-1, 1).mul_((3 / max(p[0].numel(), 1)) ** 0.5) if p.dim() > 1 else p.fill_(0.5)
    return m.prepare()


# FAR -----------------------------------------------------------------------------------------------------------------

class RMSNorm(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(dim))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x.float(), (x.shape[-1],), eps=1e-5).type_as(x) * self.weight


def rotary_table(side: int, head_dim: int) -> Tensor:
    """(1 + side * side, head_dim / 2, 2): cos and sin; the class token's row is zero."""
    w = 10000.0 ** (-2 * torch.arange(head_dim // 4) / (head_dim // 2))
    at = torch.arange(side)[:, None] * w
    angles = torch.cat([at[:, None].expand(-1, side, -1), at[None].expand(side, -1, -1)], -1).flatten(0, 1)
    return F.pad(torch.stack([angles.cos(), angles.sin()], -1), (0, 0, 0, 0, 1, 0))


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """x (rows, positions, heads, head_dim), table (positions, head_dim / 2, 2)"""
    a, b = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = table[:, None].unbind(-1)
    return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2).type_as(x)


class Attention(nn.Module):
    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.wqkv = nn.Linear(dim, 3 * dim, bias=False)
        self.wo = nn.Linear(dim, dim, bias=False)

    def qkv(self, x: Tensor, table: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = self.wqkv(x).unflatten(-1, (3, self.heads, -1)).unbind(2)
        return rotate(q, table).transpose(1, 2), rotate(k, table).transpose(1, 2), v.transpose(1, 2)


class FeedForward(nn.Module):
    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.w1 = nn.Linear(dim, hidden, bias=False)
        self.w3 = nn.Linear(dim, hidden, bias=False)
        self.w2 = nn.Linear(hidden, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class Block(nn.Module):
    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.attention = Attention(dim, heads)
        self.feed_forward = FeedForward(dim, -(-(8 * dim // 3) // 256) * 256)
        self.attention_norm = RMSNorm(dim)
        self.ffn_norm = RMSNorm(dim)

    def before(self, x: Tensor, table: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.attention.qkv(self.attention_norm(x), table)

    def after(self, x: Tensor, o: Tensor) -> Tensor:
        x = x + self.attention.wo(o.transpose(1, 2).flatten(2))
        return x + self.feed_forward(self.ffn_norm(x))

    def forward(self, x: Tensor, table: Tensor) -> Tensor:
        q, k, v = self.before(x, table)
        return self.after(x, F.scaled_dot_product_attention(q, k, v, is_causal=True))

    def step(self, x: Tensor, table: Tensor, cache: Tensor, position: Tensor, length: int) -> Tensor:
        """One position: its key and value go to the cache (2, rows, heads, positions, head_dim)."""
        q, k, v = self.before(x, table)
        cache[0].index_copy_(2, position, k)
        cache[1].index_copy_(2, position, v)
        return self.after(x, F.scaled_dot_product_attention(q, cache[0, :, :, :length], cache[1, :, :, :length]))


class ClassEmbedding(nn.Module):
    def __init__(self, classes: int, dim: int):
        super().__init__()
        self.embedding_table = nn.Embedding(classes + 1, dim)


class Far(nn.Module):
    def __init__(self, k: int, dim: int, layers: int, head_layers: int, vocab=16384, classes=1000, side=16):
        super().__init__()
        heads = dim // 64
        self.k, self.dim, self.heads, self.side, self.classes = k, dim, heads, side, classes
        self.cls_embedding = ClassEmbedding(classes, dim)
        for i in range(1, k + 1):
            self.add_module(f"tok_embeddings_{i}", nn.Embedding(vocab, dim))
            self.add_module(f"output_{i}", nn.Linear(dim, vocab, bias=False))
        self.aggregation_layer = nn.Linear(k * dim, dim)
        self.layers = nn.ModuleList(Block(dim, heads) for _ in range(layers))
        self.ar_head = nn.ModuleList(Block(dim, heads) for _ in range(head_layers))
        self.norm = RMSNorm(dim)
        self.register_buffer("rotary", None, persistent=False)   # f32 whatever the weights are
        self.register_buffer("slots", None, persistent=False)

    def prepare(self) -> "Far":
        self.rotary = rotary_table(self.side, 64)
        self.slots = torch.arange(self.k)
        return self.eval().requires_grad_(False)

    def embedding(self, i: int) -> nn.Embedding:
        return getattr(self, f"tok_embeddings_{i}")

    def output(self, i: int) -> nn.Linear:
        return getattr(self, f"output_{i}")

    def class_input(self, classes: Tensor) -> Tensor:
        """(rows,) -> (rows, 1, dim): the input of step 0"""
        return self.cls_embedding.embedding_table(classes)[:, None]

    def code_input(self, codes: Tensor) -> Tensor:
        """(rows, positions, k) -> (rows, positions, dim): the inputs of the steps after these codes"""
        return self.aggregation_layer(torch.cat([self.embedding(i + 1)(codes[..., i]) for i in range(self.k)], -1))

    def forward(self, classes: Tensor, codes: Tensor) -> list[Tensor]:
        """Teacher-forced logits: codes (b, t, k) -> k of (b, t, vocab)"""
        b, t, k = codes.shape
        x = torch.cat([self.class_input(classes), self.code_input(codes[:, :-1])], 1)
        for layer in self.layers:
            x = layer(x, self.rotary[:t])
        slots = [x] + [self.embedding(i)(codes[..., i - 1]) for i in range(1, k)]
        x = torch.stack(slots, 2).flatten(0, 1)
        for layer in self.ar_head:
            x = layer(x, self.rotary[:k])
        x = self.norm(x).unflatten(0, (b, t))
        return [self.output(i + 1)(x[:, :, i]) for i in range(k)]

    def new_cache(self, rows: int, layers: int | None = None, positions: int | None = None) -> Tensor:
        """(layers, 2, rows, heads, positions, head_dim); by default the backbone's"""
        like = self.cls_embedding.embedding_table.weight
        return torch.zeros(layers or len(self.layers), 2, rows, self.heads, positions or self.side ** 2, 64,
                           dtype=like.dtype, device=like.device)

    def step(self, x: Tensor, position: Tensor, length: int, cache: Tensor, scale: float, noise: bool) -> Tensor:
        """One position: x (rows, 1, dim) -> its codes (b, k).

        position: a tensor of one index; length = position + 1, an int, bounds what attention reads. With scale > 1 the
        rows are the conditional ones followed by the null ones. noise: sample, or take the largest.
        """
        table = self.rotary[position]
        for layer, own in zip(self.layers, cache):
            x = layer.step(x, table, own, position, length)
        codes, head_cache = [], self.new_cache(len(x), len(self.ar_head), self.k)
        for slot in range(self.k):
            at = self.slots[slot:slot + 1]
            for layer, own in zip(self.ar_head, head_cache):
                x = layer.step(x, self.rotary[at], own, at, slot + 1)
            logits = self.output(slot + 1)(self.norm(x[:, 0])).float()
            if scale > 1:
                cond, null = logits.chunk(2)
                logits = null + scale * (cond - null)
            if noise:   # the exponential race: argmax of p / e draws from p
                code = (logits.softmax(-1) / torch.empty_like(logits).exponential_()).argmax(-1)
            else:
                code = logits.argmax(-1)
            codes.append(code)
            if slot + 1 < self.k:
                rows = torch.cat([code, code]) if scale > 1 else code
                x = self.embedding(slot + 1)(rows)[:, None]
        return torch.stack(codes, -1)

    def next_step(self, codes: Tensor, position: Tensor, length: int, cache: Tensor, scale: float,
                  noise: bool) -> Tensor:
        """A step after the first: codes (b, k) of the position before."""
        rows = torch.cat([codes, codes]) if scale > 1 else codes
        return self.step(self.code_input(rows[:, None]), position, length, cache, scale, noise)

    def generate(self, classes: Tensor, steps: int, scale: float, noise=True) -> Tensor:
        """(b,) -> codes (b, steps, k)"""
        rows = torch.cat([classes, torch.full_like(classes, self.classes)]) if scale > 1 else classes
        cache = self.new_cache(len(rows))
        out = [self.step(self.class_input(rows), torch.tensor([0]), 1, cache, scale, noise)]
        for t in range(1, steps):
            out.append(self.next_step(out[-1], torch.tensor([t]), t + 1, cache, scale, noise))
        return torch.stack(out, 1)


@torch.compiler.disable   # the compiler knows no packed tensors that come from outside
def onednn_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


class PackedLinear(nn.Module):
    """A linear layer in the layout that oneDNN likes best for so many rows: what the compiler does when it may freeze
    weights, at a fraction of its time. For one to four rows in f32 a plain product from the left is faster still."""

    def __init__(self, linear: nn.Linear, rows: int):
        super().__init__()
        w = linear.weight.detach()
        self.bias, self.left = linear.bias, w.dtype == torch.float32 and rows <= 4
        self.weight = w if self.left else torch.ops.mkldnn._reorder_linear_weight(w, rows)

    def forward(self, x: Tensor) -> Tensor:
        if not self.left:
            return onednn_linear(x, self.weight, self.bias)
        y = (self.weight @ x.flatten(0, -2).T).T.unflatten(0, x.shape[:-1])
        return y if self.bias is None else y + self.bias


def pack(module: nn.Module, rows: int) -> nn.Module:
    """Packs every linear layer, for decode steps of so many rows."""
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            setattr(module, name, PackedLinear(child, rows))
        else:
            pack(child, rows)
    return module


def compile_blocks(m: Far) -> Far:
    """Compiles what stands before and after attention, once for all blocks: 27 blocks as one graph take minutes."""
    for block in (*m.layers, *m.ar_head):
        block.before, block.after = torch.compile(block.before), torch.compile(block.after)
    return m


def far(name: str, tensors: dict, path: Path | None, dtype=torch.float32) -> Far:
    """By manifest name, far_{tiny,b,l}_{dual,triple}; sizes are read off the manifest's tensors. Fresh without a path."""
    count = lambda prefix: 1 + max(int(n.split(".")[1]) for n in tensors if n.startswith(prefix + "."))
    k = sum(n.startswith("output_") for n in tensors)
    vocab, dim = tensors["output_1.weight"]["shape"]
    classes = tensors["cls_embedding.embedding_table.weight"]["shape"][0] - 1
    with torch.device("meta"):
        m = Far(k, dim, count("layers"), count("ar_head"), vocab, classes, side=8 if "tiny" in name else 16)
    m = m.to(dtype).to_empty(device="cpu")
    if path is not None:
        load(m, path)
        return m.prepare()
    with torch.no_grad():
        for name, p in m.named_parameters():
            p.normal_(0, 0.02) if p.dim() > 1 and not name.startswith("output_") else p.fill_("norm" in name)
    return m.prepare()
