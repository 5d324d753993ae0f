"""The networks of the ImageNet-256 system in PyTorch, for bench/ to compare with: DiT and Stable Diffusion's decoder, under the
official parameter names (spec: facebookresearch/DiT models.py; diffusers AutoencoderKL), and FID's Inception as pytorch-fid has it."""
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from networks import attend


def sequence(**layers):
    """Layers named by their numbers, `_0`, `_2`: those between them have no parameters."""
    return nn.ModuleDict({k[1:]: layer for k, layer in layers.items()})


# ---- DiT -------------------------------------------------------------------------------------------------------------------
class DitAttention(nn.Module):
    def __init__(self, c, heads):
        super().__init__()
        self.heads, self.qkv, self.proj = heads, nn.Linear(c, 3 * c), nn.Linear(c, c)

    def forward(self, x):
        n, tokens, c = x.shape
        q, k, v = self.qkv(x).reshape(n, tokens, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        return self.proj(attend(q, k, v).transpose(1, 2).reshape(n, tokens, c))


class Mlp(nn.Module):
    def __init__(self, c, width):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(c, width), nn.Linear(width, c)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


def modulated(x, shift, scale):
    return F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale[:, None]) + shift[:, None]


class DitBlock(nn.Module):
    def __init__(self, c, heads, width):
        super().__init__()
        self.attn, self.mlp = DitAttention(c, heads), Mlp(c, width)
        self.adaLN_modulation = sequence(_1=nn.Linear(c, 6 * c))

    def forward(self, x, condition):
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = self.adaLN_modulation["1"](condition).chunk(6, dim=1)
        x = x + gate_a[:, None] * self.attn(modulated(x, shift_a, scale_a))
        return x + gate_m[:, None] * self.mlp(modulated(x, shift_m, scale_m))


def positions(side, c):
    """[side^2, c]: sines and cosines of the column, then of the row."""
    angle = np.arange(side)[:, None] * 10000.0 ** (-np.arange(c // 4) / (c // 4))[None]
    line = np.concatenate([np.sin(angle), np.cos(angle)], axis=1)
    column, row = np.tile(line, (side, 1)), np.repeat(line, side, axis=0)
    return torch.from_numpy(np.concatenate([column, row], axis=1).astype(np.float32))


class DiT(nn.Module):
    """forward: eps and the variance's code, of x [n, c, h, w], timesteps [n] and classes [n]."""

    def __init__(self, config):
        super().__init__()
        c, self.patch, channels = config["hidden_size"], config["patch_size"], config["in_channels"]
        self.side, self.out = config["input_size"] // self.patch, channels * (2 if config["learn_sigma"] else 1)
        self.x_embedder = nn.ModuleDict({"proj": nn.Conv2d(channels, c, self.patch, stride=self.patch)})
        self.t_embedder = nn.ModuleDict({"mlp": sequence(_0=nn.Linear(256, c), _2=nn.Linear(c, c))})
        self.y_embedder = nn.ModuleDict({"embedding_table": nn.Embedding(config["num_classes"] + 1, c)})
        self.blocks = nn.ModuleList(DitBlock(c, config["num_heads"], int(config["mlp_ratio"] * c)) for _ in range(config["depth"]))
        self.final_layer = nn.ModuleDict({"linear": nn.Linear(c, self.patch**2 * self.out),
                                          "adaLN_modulation": sequence(_1=nn.Linear(c, 2 * c))})
        self.register_buffer("pos_embed", positions(self.side, c), persistent=False)

    def forward(self, x, timesteps, labels):
        n = len(x)
        z = self.x_embedder["proj"](x).flatten(2).transpose(1, 2) + self.pos_embed
        angle = timesteps.float()[:, None] * torch.exp(-math.log(10000) * torch.arange(128, dtype=torch.float32, device=x.device) / 128)[None]
        mlp = self.t_embedder["mlp"]
        time = mlp["2"](F.silu(mlp["0"](torch.cat([angle.cos(), angle.sin()], dim=1).to(x.dtype))))
        condition = F.silu(time + self.y_embedder["embedding_table"](labels))
        for block in self.blocks:
            z = block(z, condition)
        shift, scale = self.final_layer["adaLN_modulation"]["1"](condition).chunk(2, dim=1)
        z = self.final_layer["linear"](modulated(z, shift, scale))
        z = z.reshape(n, self.side, self.side, self.patch, self.patch, self.out)
        return torch.einsum("nhwpqc->nchpwq", z).reshape(n, self.out, self.side * self.patch, self.side * self.patch)


# ---- Stable Diffusion's decoder --------------------------------------------------------------------------------------------
class VaeBlock(nn.Module):
    def __init__(self, c_in, c_out, groups, eps):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(groups, c_in, eps), nn.Conv2d(c_in, c_out, 3, padding=1)
        self.norm2, self.conv2 = nn.GroupNorm(groups, c_out, eps), nn.Conv2d(c_out, c_out, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else None

    def forward(self, x):
        h = self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))
        return h + (self.conv_shortcut(x) if self.conv_shortcut else x)


class VaeAttention(nn.Module):
    def __init__(self, c, groups, eps):
        super().__init__()
        self.group_norm = nn.GroupNorm(groups, c, eps)
        self.to_q, self.to_k, self.to_v = nn.Linear(c, c), nn.Linear(c, c), nn.Linear(c, c)
        self.to_out = sequence(_0=nn.Linear(c, c))

    def forward(self, x):
        h = self.group_norm(x).flatten(2).transpose(1, 2)[:, None]
        a = attend(self.to_q(h), self.to_k(h), self.to_v(h))[:, 0]
        return x + self.to_out["0"](a).transpose(1, 2).reshape(x.shape)


class Decoder(nn.Module):
    """forward: pictures [n, 3, 8h, 8w] of latents [n, 4, h, w], which the factor 0.18215 has been taken off."""

    def __init__(self, config):
        super().__init__()
        widths, groups, eps = config["block_out_channels"][::-1], config["norm_num_groups"], config["norm_eps"]
        latent, c = config["latent_channels"], widths[0]
        self.post_quant_conv = nn.Conv2d(latent, latent, 1)
        d = self.decoder = nn.ModuleDict({"conv_in": nn.Conv2d(latent, c, 3, padding=1)})
        d["mid_block"] = nn.ModuleDict({"resnets": nn.ModuleList(VaeBlock(c, c, groups, eps) for _ in range(2)),
                                        "attentions": nn.ModuleList([VaeAttention(c, groups, eps)])})
        d["up_blocks"] = nn.ModuleList()
        for i, width in enumerate(widths):
            resnets = nn.ModuleList(VaeBlock(width if j else c, width, groups, eps) for j in range(config["layers_per_block"] + 1))
            block = nn.ModuleDict({"resnets": resnets})
            if i < len(widths) - 1:
                block["upsamplers"] = nn.ModuleList([nn.ModuleDict({"conv": nn.Conv2d(width, width, 3, padding=1)})])
            d["up_blocks"].append(block)
            c = width
        d["conv_norm_out"], d["conv_out"] = nn.GroupNorm(groups, c, eps), nn.Conv2d(c, 3, 3, padding=1)

    def forward(self, z):
        d = self.decoder
        x = d["conv_in"](self.post_quant_conv(z))
        middle = d["mid_block"]
        x = middle["resnets"][1](middle["attentions"][0](middle["resnets"][0](x)))
        for block in d["up_blocks"]:
            for layer in block["resnets"]:
                x = layer(x)
            if "upsamplers" in block:
                x = block["upsamplers"][0]["conv"](F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return d["conv_out"](F.silu(d["conv_norm_out"](x)))


# ---- FID's Inception -------------------------------------------------------------------------------------------------------
def inception():
    """pytorch-fid's module with the values that PyTorch begins with: the pool's features of images in [0, 1]."""
    import pytorch_fid.inception

    pytorch_fid.inception.load_state_dict_from_url = lambda *args, **kwargs: None
    from torchvision.models.inception import Inception3

    load, Inception3.load_state_dict = Inception3.load_state_dict, lambda self, state, *args, **kwargs: None
    try:
        return pytorch_fid.inception.InceptionV3([pytorch_fid.inception.InceptionV3.BLOCK_INDEX_BY_DIM[2048]]).eval()
    finally:
        Inception3.load_state_dict = load
