"""The two cameras: from radiance and temperature to 8-bit images, with their faults."""

import cv2
import numpy as np

from decofuse.data.images import Float32, UInt8
from decofuse.data.scenes.view import View
from decofuse.data.scenes.weather import Weather

LUMINANCE = (0.2126, 0.7152, 0.0722)
GAMMA = 2.2


def expose_visible(radiance: Float32, view: View, weather: Weather, rng: np.random.Generator) -> UInt8:
    """Take the visible picture: metering, glare, blur, vignetting, shot and read noise, white balance, tone curve.

    Args:
        radiance: H×W×3 linear RGB.
        view: gives the scale that blur and glare grow with.
        weather: camera settings.
        rng: source of the noise.

    Returns:
        H×W×3 uint8 sRGB-like image.
    """
    cameras, unit = weather.cameras, view.unit
    signal = radiance * np.float32(_meter(radiance, weather.night) * 2**cameras.exposure)
    signal += _glare(signal, unit, weather.night)
    signal = _blurred(signal, cameras.blur * unit)
    rows = np.linspace(-1, 1, view.height, dtype=np.float32)[:, None]
    columns = np.linspace(-1, 1, view.width, dtype=np.float32)[None, :]
    signal *= (1 - np.float32(0.18) * (rows * rows + columns * columns))[..., None]
    # demosaicing makes the noise of neighbours alike; the factor keeps its deviation
    noise = _blurred(rng.standard_normal(signal.shape, np.float32), 0.6) * np.float32(1.6)
    signal += noise * np.float32(cameras.noise) * np.sqrt(np.float32(0.35) + 8 * np.clip(signal, 0, 1))
    signal *= np.array(cameras.cast, np.float32)
    return _develop(signal)


def _blurred(image: Float32, sigma: float) -> Float32:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), max(sigma, 0.25)), np.float32)


def _meter(radiance: Float32, night: bool) -> float:
    """Gain that brings the scene's typical brightness to the camera's target; bright spots count little."""
    sparse = radiance[::4, ::4]
    luminance = sum(np.float32(weight) * sparse[..., channel] for channel, weight in enumerate(LUMINANCE))
    typical = float(np.exp(np.mean(np.log(luminance + np.float32(2e-4 if night else 1e-2)))))
    high = float(np.percentile(luminance, 95))
    return min((0.024 if night else 0.20) / typical, (2.0 if night else 1.25) / max(high, 1e-6))


def _glare(signal: Float32, unit: float, night: bool) -> Float32:
    """Light scattered in the lens around what is much brighter than white."""
    height, width = signal.shape[:2]
    size = (max(8, width // 4), max(8, height // 4))
    small = cv2.resize(np.clip(signal - np.float32(0.95), 0, 60), size, interpolation=cv2.INTER_AREA)
    scattered = np.zeros_like(small)
    for sigma, share in ((1.2, 0.30), (4.5, 0.10), (16.0, 0.05 if night else 0.025)):
        scattered += np.float32(share) * cv2.GaussianBlur(small, (0, 0), max(sigma * unit, 0.4))
    return np.asarray(cv2.resize(scattered, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def _develop(signal: Float32) -> UInt8:
    """Apply the camera's curve: gamma with a soft shoulder, by a table of 4096 steps over [0, 2]."""
    steps = np.linspace(0, 2, 4096)
    shoulder = np.where(steps < 0.6, steps, 0.6 + 0.4 * np.tanh((steps - 0.6) / 0.4 * 0.85))
    table = np.rint(255 * np.clip(shoulder, 0, 1) ** (1 / GAMMA)).astype(np.uint8)
    pixels: UInt8 = table[np.clip(signal * np.float32(4095 / 2), 0, 4095).astype(np.uint16)]
    return pixels


def expose_infrared(temperature: Float32, view: View, weather: Weather, rng: np.random.Generator) -> UInt8:
    """Take the infrared picture: soft optics, edge enhancement, sensor noise, stripes, gain control.

    Args:
        temperature: H×W apparent temperature [°C].
        view: gives the scale that blur grows with.
        weather: camera settings.
        rng: source of the noise.

    Returns:
        H×W uint8 image, warm is bright.
    """
    cameras = weather.cameras
    height, width = temperature.shape
    signal = _blurred(temperature, cameras.infrared_blur * view.unit)
    coarse = cv2.resize(signal, (width // 4, height // 4), interpolation=cv2.INTER_AREA)
    surround = cv2.resize(
        _blurred(np.asarray(coarse, np.float32), 4 * view.unit), (width, height), interpolation=cv2.INTER_LINEAR
    )
    signal += np.float32(0.25) * (signal - np.asarray(surround, np.float32))
    stripes = np.float32(cameras.infrared_stripes)
    signal += stripes * rng.standard_normal((1, width), np.float32)
    signal += np.float32(0.5) * stripes * rng.standard_normal((height, 1), np.float32)
    drift = cv2.resize(rng.standard_normal((4, 5), np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    signal += np.float32(0.35) * np.asarray(drift, np.float32)
    signal += np.float32(cameras.infrared_noise) * rng.standard_normal((height, width), np.float32)
    dark, bright = cameras.infrared_levels
    share = _gain_control(signal, cameras.infrared_span)
    levels = np.float32(255) * (np.float32(dark) + np.float32(bright - dark) * share)
    pixels: UInt8 = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    return pixels


def _gain_control(signal: Float32, least_span: float) -> Float32:
    """Map the range of temperatures that matters to [0, 1]; a narrow range is not stretched beyond `least_span`."""
    low, typical, high = (float(v) for v in np.percentile(signal[::2, ::2], (4, 60, 99.7)))
    low = max(low, typical - 0.65 * least_span)  # the cold sky does not take the whole range
    span = max(high - low, least_span)
    share = (signal - np.float32((low + high) / 2)) / np.float32(span) + np.float32(0.5)
    mapped: Float32 = np.maximum(share, np.float32(0.25) * share)  # what is colder is compressed, not lost
    return mapped
