"""What all commands share: configuration in, errors and tables out. The only room that knows Hydra and rich."""
