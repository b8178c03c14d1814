"""Signal processing and audio files: arrays in, arrays out."""
