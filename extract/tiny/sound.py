"""A small tagger of sounds with the outputs of PANN's Cnn14, for the bundled set alone."""

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

SAMPLE_RATE = 32_000
WINDOW, HOP, MELS = 1024, 640, 64
EMBEDDING = 128


class TinySound(nn.Module):
    """Log-mel pictures of the sound, four convolutions, an embedding and the tags on it."""

    window: Tensor
    mel: Tensor

    def __init__(self, num_tags: int) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(WINDOW), persistent=False)
        self.register_buffer("mel", _mel_filters(), persistent=False)
        channels = (1, 16, 32, 64, EMBEDDING)
        self.blocks = nn.Sequential(
            *(_block(before, after) for before, after in pairwise(channels))
        )
        self.embed = nn.Linear(EMBEDDING, EMBEDDING)
        self.tag = nn.Linear(EMBEDDING, num_tags)

    def forward(self, waveform: Tensor) -> dict[str, Tensor]:
        """Take `(batch, sample)` at 32 kHz; give the two outputs that Cnn14 names the same."""
        with torch.autocast(waveform.device.type, enabled=False):  # soft sounds count, too
            spectrum = torch.stft(
                waveform, WINDOW, HOP, window=self.window, center=True, return_complex=True
            )
            power = spectrum.abs().square().transpose(1, 2)
            log_mel = (power @ self.mel).clamp(min=1e-8).log10()
        picture = self.blocks(log_mel[:, None] / 4 + 0.5)  # about -1 to 1
        over_time = picture.mean(dim=3)
        pooled = over_time.mean(dim=2) + over_time.amax(dim=2)
        embedding = self.embed(pooled).relu()
        return {"embedding": embedding, "clipwise_output": self.tag(embedding).sigmoid()}


def _block(before: int, after: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(),
        nn.AvgPool2d(2, ceil_mode=True),
    )


def _mel_filters(low: float = 50.0, high: float = 14_000.0) -> Tensor:
    """Triangles that are evenly spaced on the mel scale, `(frequency, mel)`."""
    first, last = (2595 * np.log10(1 + hertz / 700) for hertz in (low, high))
    points = 700 * (10 ** (np.linspace(first, last, MELS + 2) / 2595) - 1)
    bins = np.linspace(0, SAMPLE_RATE / 2, WINDOW // 2 + 1)[:, None]
    rising = (bins - points[:-2]) / (points[1:-1] - points[:-2])
    falling = (points[2:] - bins) / (points[2:] - points[1:-1])
    return torch.from_numpy(np.minimum(rising, falling).clip(min=0)).float()
