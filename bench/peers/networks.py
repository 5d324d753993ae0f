"""The networks of dg_cuda in PyTorch's own layers, for side-by-side timings.

Written from the papers and the layers' definitions; module names are those of the official checkpoints, so that the same
synthetic weights (a function of each parameter's name, see tests/golden/README.md) fill both sides and check.py can
compare. Nothing here depends on the device: .to("cuda"), half precision, channels_last and torch.compile apply as usual.
"""
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

FUSED_ATTENTION = hasattr(F, "scaled_dot_product_attention")  # PyTorch 2: its own fused kernel; before: matmul, softmax, matmul


def attend(q, k, v):
    """softmax(q k^T / sqrt d) v; [n, heads, tokens, d] each."""
    if FUSED_ATTENTION:
        return F.scaled_dot_product_attention(q, k, v)
    return torch.matmul(torch.softmax(torch.matmul(q * (1 / math.sqrt(q.shape[-1])), k.transpose(-2, -1)), dim=-1), v)


# ---- EDM's U-Nets -------------------------------------------------------------------------------------------------------
def edm_norm(c, eps):
    return nn.GroupNorm(min(32, c // 4), c, eps=eps)


class UNetBlock(nn.Module):
    """The residual block of SongUNet and DhariwalUNet; resample: "up", "down" or None, by a box filter."""

    def __init__(self, c_in, c_out, emb, heads=0, resample=None, adaptive=False, eps=1e-6, skip_scale=1.0, skip_conv=False):
        super().__init__()
        self.resample, self.heads, self.adaptive, self.skip_scale = resample, heads, adaptive, skip_scale
        self.norm0 = edm_norm(c_in, eps)
        self.conv0 = nn.Conv2d(c_in, c_out, 3, padding=1)
        self.affine = nn.Linear(emb, c_out * (2 if adaptive else 1))
        self.norm1 = edm_norm(c_out, eps)
        self.conv1 = nn.Conv2d(c_out, c_out, 3, padding=1)
        self.skip = nn.Conv2d(c_in, c_out, 1) if c_in != c_out or (resample and skip_conv) else None
        if heads:
            self.norm2 = edm_norm(c_out, eps)
            self.qkv = nn.Conv2d(c_out, 3 * c_out, 1)
            self.proj = nn.Conv2d(c_out, c_out, 1)

    def move(self, x):
        if self.resample == "up":
            return F.interpolate(x, scale_factor=2, mode="nearest")
        return F.avg_pool2d(x, 2) if self.resample == "down" else x

    def forward(self, x, emb):
        h = self.conv0(self.move(F.silu(self.norm0(x))))
        p = self.affine(emb)[:, :, None, None]
        if self.adaptive:
            scale, shift = p.chunk(2, dim=1)
            h = F.silu(torch.addcmul(shift, self.norm1(h), scale + 1))
        else:
            h = F.silu(self.norm1(h + p))
        x = self.move(x)
        x = (self.conv1(h) + (self.skip(x) if self.skip else x)) * self.skip_scale
        if self.heads:
            n, c, height, width = x.shape
            # channel (head * d + c) * 3 + {q, k, v}
            qkv = self.qkv(self.norm2(x)).reshape(n, self.heads, c // self.heads, 3, height * width).permute(3, 0, 1, 4, 2)
            a = attend(qkv[0], qkv[1], qkv[2]).transpose(2, 3).reshape(n, c, height, width)
            x = (self.proj(a) + x) * self.skip_scale
        return x


class UNet(nn.Module):
    """SongUNet as DDPM++ (positional, standard, standard) and DhariwalUNet (ADM), by the network config of a golden case."""

    def __init__(self, config):
        super().__init__()
        song = config["model_type"] == "SongUNet"
        assert not song or (config["embedding_type"], config["encoder_type"], config["decoder_type"]) == ("positional",) + ("standard",) * 2
        mc, mult, blocks, res = config["model_channels"], config["channel_mult"], config["num_blocks"], config["img_resolution"]
        attn, image, labels = config["attn_resolutions"], config["img_channels"], config["label_dim"]
        self.song, self.noise_channels, self.label_dim = song, mc * config.get("channel_mult_noise", 1), labels
        emb = mc * config.get("channel_mult_emb", 4)
        kind = dict(eps=1e-6, skip_scale=math.sqrt(0.5), skip_conv=True) if song else dict(eps=1e-5, adaptive=True)

        def block(c_in, c_out, attention, resample=None):
            return UNetBlock(c_in, c_out, emb, heads=(1 if song else c_out // 64) if attention else 0, resample=resample, **kind)

        self.map_layer0 = nn.Linear(self.noise_channels, emb)
        self.map_layer1 = nn.Linear(emb, emb)
        if labels:
            self.map_label = nn.Linear(labels, self.noise_channels if song else emb, bias=song)
        self.enc, self.dec = nn.ModuleDict(), nn.ModuleDict()
        c, skips = image, []
        for level, m in enumerate(mult):
            r, name = res >> level, "%dx%d" % (res >> level, res >> level)
            if level == 0:
                c = mc if song else mc * m
                self.enc[name + "_conv"] = nn.Conv2d(image, c, 3, padding=1)
            else:
                self.enc[name + "_down"] = block(c, c, False, "down")
            skips.append(c)
            for i in range(blocks):
                self.enc["%s_block%d" % (name, i)] = block(c, mc * m, r in attn)
                c = mc * m
                skips.append(c)
        for level in reversed(range(len(mult))):
            m, r, name = mult[level], res >> level, "%dx%d" % (res >> level, res >> level)
            if level == len(mult) - 1:
                self.dec[name + "_in0"] = block(c, c, True)
                self.dec[name + "_in1"] = block(c, c, False)
            else:
                self.dec[name + "_up"] = block(c, c, False, "up")
            for i in range(blocks + 1):
                self.dec["%s_block%d" % (name, i)] = block(c + skips.pop(), mc * m, r in attn and (i == blocks or not song))
                c = mc * m
        name = "%dx%d" % (res, res)
        norm, conv = edm_norm(c, kind["eps"]), nn.Conv2d(c, image, 3, padding=1)
        if song:
            self.dec[name + "_aux_norm"], self.dec[name + "_aux_conv"] = norm, conv
        else:
            self.out_norm, self.out_conv = norm, conv
        self.out = [norm, conv] if not song else [self.dec[name + "_aux_norm"], self.dec[name + "_aux_conv"]]

    def embed(self, noise, labels):
        half = self.noise_channels // 2
        k = torch.arange(half, dtype=torch.float32, device=noise.device) / (half - (1 if self.song else 0))
        args = noise.to(torch.float32)[:, None] * (1 / 10000) ** k[None]
        parts = [args.sin(), args.cos()] if self.song else [args.cos(), args.sin()]
        emb = torch.cat(parts, dim=1).to(self.map_layer0.weight.dtype)
        if self.song and self.label_dim:
            emb = emb + self.map_label(labels * math.sqrt(self.label_dim))
        emb = self.map_layer1(F.silu(self.map_layer0(emb)))
        if not self.song and self.label_dim:
            emb = emb + self.map_label(labels)
        return F.silu(emb)

    def forward(self, x, noise, labels=None):
        emb, skips = self.embed(noise, labels), []
        for layer in self.enc.values():
            x = layer(x, emb) if isinstance(layer, UNetBlock) else layer(x)
            skips.append(x)
        for layer in self.dec.values():
            if not isinstance(layer, UNetBlock):
                continue
            if x.shape[1] != layer.norm0.num_channels:
                x = torch.cat([x, skips.pop()], dim=1)
            x = layer(x, emb)
        return self.out[1](F.silu(self.out[0](x)))


class EDMPrecond(nn.Module):
    """D(x; sigma) of EDM, sigma_data 0.5."""

    def __init__(self, config):
        super().__init__()
        self.model = UNet(config)

    def forward(self, x, sigma, labels=None):
        s = sigma.to(torch.float32).reshape(-1, 1, 1, 1)
        total = s * s + 0.25
        dtype = self.model.map_layer0.weight.dtype
        f = self.model((x * total.rsqrt()).to(dtype), s.flatten().log() / 4, labels if labels is None else labels.to(dtype))
        return x * (0.25 / total) + f.to(torch.float32) * (s * 0.5 * total.rsqrt())


# ---- guided-diffusion's encoder: feature extractor and discriminator head ------------------------------------------------
def adm_norm(c):
    return nn.GroupNorm(32, c, eps=1e-5)


class ResBlock(nn.Module):
    def __init__(self, c_in, c_out, emb, down=False):
        super().__init__()
        self.down = down
        self.in_layers = nn.ModuleList([adm_norm(c_in), nn.SiLU(), nn.Conv2d(c_in, c_out, 3, padding=1)])
        self.emb_layers = nn.ModuleList([nn.SiLU(), nn.Linear(emb, 2 * c_out)])
        self.out_layers = nn.ModuleList([adm_norm(c_out), nn.SiLU(), nn.Identity(), nn.Conv2d(c_out, c_out, 3, padding=1)])
        self.skip_connection = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x, emb):
        h = F.silu(self.in_layers[0](x))
        if self.down:
            h, x = F.avg_pool2d(h, 2), F.avg_pool2d(x, 2)
        h = self.in_layers[2](h)
        scale, shift = self.emb_layers[1](emb)[:, :, None, None].chunk(2, dim=1)
        h = torch.addcmul(shift, self.out_layers[0](h), scale + 1)
        return self.skip_connection(x) + self.out_layers[3](F.silu(h))


class AttentionBlock(nn.Module):
    def __init__(self, c, head_channels):
        super().__init__()
        self.heads = c // head_channels
        self.norm, self.qkv, self.proj_out = adm_norm(c), nn.Conv1d(c, 3 * c, 1), nn.Conv1d(c, c, 1)

    def forward(self, x):
        n, c, height, width = x.shape
        # channel head * 3d + {q, k, v} * d + c
        qkv = self.qkv(self.norm(x).reshape(n, c, height * width)).reshape(n, self.heads, 3, c // self.heads, height * width)
        q, k, v = qkv.permute(2, 0, 1, 4, 3)
        a = attend(q, k, v).transpose(2, 3).reshape(n, c, height * width)
        return x + self.proj_out(a).reshape(x.shape)


class AttentionPool(nn.Module):
    """The mean and the pixels attend to each other; the mean's token is the output."""

    def __init__(self, tokens, c, head_channels, out):
        super().__init__()
        self.heads = c // head_channels
        self.positional_embedding = nn.Parameter(torch.zeros(c, tokens + 1))
        self.qkv_proj, self.c_proj = nn.Conv1d(c, 3 * c, 1), nn.Conv1d(c, out, 1)

    def forward(self, x):
        n, c = x.shape[:2]
        x = x.reshape(n, c, -1)
        x = torch.cat([x.mean(dim=2, keepdim=True), x], dim=2) + self.positional_embedding
        q, k, v = self.qkv_proj(x).reshape(n, 3, self.heads, c // self.heads, -1).permute(1, 0, 2, 4, 3)
        return self.c_proj(attend(q, k, v).transpose(2, 3).reshape(n, c, -1))[:, :, 0]


class Encoder(nn.Module):
    """forward: the features behind the middle block; with_pool: the logits of the attention pool behind them."""

    def __init__(self, config, with_pool):
        super().__init__()
        mc, mult, head = config["model_channels"], config["channel_mult"], config["num_head_channels"]
        emb, self.channels = 4 * mc, mc
        self.time_embed = nn.ModuleList([nn.Linear(mc, emb), nn.SiLU(), nn.Linear(emb, emb)])
        self.label_emb = nn.Embedding(config["num_class"], emb) if config.get("condition") else None
        c = mult[0] * mc
        layers = [[nn.Conv2d(config["in_channels"], c, 3, padding=1)]]
        for level, m in enumerate(mult):
            for _ in range(config["num_res_blocks"]):
                layers.append([ResBlock(c, m * mc, emb)])
                c = m * mc
                if 1 << level in config["attention_resolutions"]:
                    layers[-1].append(AttentionBlock(c, head))
            if level < len(mult) - 1:
                layers.append([ResBlock(c, c, emb, down=True)])
        self.input_blocks = nn.ModuleList(nn.ModuleList(block) for block in layers)
        self.middle_block = nn.ModuleList([ResBlock(c, c, emb), AttentionBlock(c, head), ResBlock(c, c, emb)])
        if with_pool:
            tokens = (config["image_size"] >> (len(mult) - 1)) ** 2
            self.out = nn.ModuleList([adm_norm(c), nn.SiLU(), AttentionPool(tokens, c, head, config["out_channels"])])
        self.with_pool = with_pool

    def forward(self, x, time, labels=None):
        """time in [0, 1], one value an image (float64 keeps the official rounding); labels: class indices."""
        half = self.channels // 2
        freq = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32, device=x.device) / half)
        args = (999 * time).to(torch.float32)[:, None] * freq[None]
        emb = torch.cat([args.cos(), args.sin()], dim=1).to(x.dtype)
        emb = self.time_embed[2](F.silu(self.time_embed[0](emb)))
        if self.label_emb is not None:
            emb = emb + self.label_emb(labels)
        emb = F.silu(emb)
        for block in list(self.input_blocks) + [self.middle_block]:
            for layer in block:
                x = layer(x, emb) if isinstance(layer, ResBlock) else layer(x)
        return self.out[2](F.silu(self.out[0](x))) if self.with_pool else x


class Guide(nn.Module):
    """forward: G = -sigma^2 m dL/dz, the discriminator's change of the denoiser's direction, and L [n]."""

    def __init__(self, extractor, head, cosine_time=False):
        super().__init__()
        self.extractor, self.head, self.cosine_time = Encoder(extractor, False), Encoder(head, True), cosine_time
        self.requires_grad_(False)  # only the input's gradient is wanted

    def time_of(self, sigma):
        b0, b1 = 0.1, 20.0
        tau = (-b0 + torch.sqrt(b0 * b0 + 2 * (b1 - b0) * torch.log1p(sigma**2))) / (b1 - b0)
        mean = torch.exp(-0.25 * tau**2 * (b1 - b0) - 0.5 * tau * b0)
        if not self.cosine_time:
            return tau, mean
        c = 0.008
        return (1 + c) * (2 / math.pi) * torch.acos(math.cos(c / (1 + c) * math.pi / 2) * mean) - c, mean

    def log_ratio(self, z, time, labels=None):
        """L of the VP input z, and its features."""
        features = self.extractor(z, time)
        limit = math.log((1 - 1e-5) / 1e-5)
        return self.head(features, time, labels)[:, 0].float().clamp(-limit, limit), features

    def forward(self, x, sigma, labels=None):
        time, mean = self.time_of(sigma)
        z = (mean[:, None, None, None] * x).to(next(self.parameters()).dtype).requires_grad_(True)
        with torch.enable_grad():
            ratio, _ = self.log_ratio(z, time, labels)
            (slope,) = torch.autograd.grad(ratio.sum(), z)
        return -(sigma**2 * mean)[:, None, None, None] * slope.to(torch.float64), ratio.detach()


# ---- synthetic weights ----------------------------------------------------------------------------------------------------
def synthetic_value(name, shape, seed):
    """The value of parameter `name`: a function of its official name, its shape and the seed."""
    with np.errstate(over="ignore"):
        key = np.uint64(0xCBF29CE484222325)
        for byte in name.encode():
            key = (key ^ np.uint64(byte)) * np.uint64(0x100000001B3)
        key ^= np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15)
        z = key + (np.arange(int(np.prod(shape)), dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    u = ((z >> np.uint64(40)).astype(np.float64) * 2.0**-23 - 1).astype(np.float32).reshape(shape)
    leaf = name.split(".")[-1]
    if leaf == "positional_embedding":
        return u * np.float32(1 / math.sqrt(shape[0]))
    if leaf == "bias" or leaf.endswith("_bias"):
        return np.float32(0.1) * u
    if len(shape) == 1:
        return np.float32(1) + np.float32(0.1) * u
    if "label_emb" in name or "embedding_table" in name:
        return u
    return u * np.float32(math.sqrt(3 / np.prod(shape[1:])))


def fill_synthetic(module, seed, overrides=None):
    """Fills every parameter; overrides: {name: array} of those that a golden case sets itself."""
    names = (overrides or {}).copy()
    for name, parameter in module.named_parameters():
        value = names.pop(name, None)
        if value is None:
            value = synthetic_value(name, tuple(parameter.shape), seed)
        parameter.data.copy_(torch.from_numpy(np.ascontiguousarray(value)))
    assert not names, "no parameters named %s" % ", ".join(names)
    return module
