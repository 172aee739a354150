"""Running many trials: workers that train one trial after another, and pools that keep them busy."""
